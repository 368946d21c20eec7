package layer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"

	"github.com/klauspost/compress/zstd"

	"osbuild-containers/internal/compression"
)

// asStream decompresses a blob with one decoder, from begin to end.
func asStream(data []byte) ([]byte, error) {
	d, err := zstd.NewReader(bytes.NewReader(data), options...)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(d)
}

// framesOf compresses pieces, each as a frame.
func framesOf(t testing.TB, sized bool, pieces ...[]byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1), zstd.WithZeroFrames(true)) // one for all: it takes megabytes
	if err != nil {
		t.Fatal(err)
	}
	for _, piece := range pieces {
		if sized {
			b.Write(w.EncodeAll(piece, nil))
			continue
		}
		w.Reset(&b)
		if err := errors.Join(second(w.Write(piece)), w.Flush(), w.Close()); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func second(_ int, err error) error { return err }

// noise returns n bytes, one in part of them random.
func noise(r *rand.Rand, n, part int) []byte {
	b := make([]byte, n)
	for i := 0; i < n; i += part {
		b[i] = byte(r.Uint32())
	}
	return b
}

// However many processors there are, frames are decompressed to what one decoder makes of them, up to the same error.
func TestFramesLikeAStream(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(0))
	r := rand.New(rand.NewPCG(1, 2))
	var small, chunks [][]byte
	for range 120 {
		small = append(small, noise(r, r.IntN(20_000), 3))
	}
	for range 3 {
		chunks = append(chunks, noise(r, 2<<20, 2))
	}
	large := noise(r, maxFrame+1, 1)
	bomb := make([]byte, 2*maxGroup)
	window, _ := largeWindow()
	blobs := map[string][]byte{
		"small frames":                      framesOf(t, true, small...),
		"small frames that state no size":   framesOf(t, false, small...),
		"frames of the oci-archive stage":   framesOf(t, true, chunks...),
		"empty frames":                      framesOf(t, true, nil, nil, small[0], nil),
		"a large frame":                     framesOf(t, true, small[0], large, small[1]),
		"a large frame that states no size": framesOf(t, false, small[0], large, small[1]),
		"frames that expand":                framesOf(t, false, small[0], bomb, small[1]),
		"a table of contents":               slices.Concat(skippable("first"), framesOf(t, false, small...), skippable(string(make([]byte, maxFrame))), framesOf(t, true, small[0])),
		"large windows":                     slices.Concat(framesOf(t, true, small...), window, framesOf(t, true, small...), window),
		"a window that is too large":        append(framesOf(t, true, small...), 0x28, 0xb5, 0x2f, 0xfd, 0, 0xa8, 1, 0, 0),
		"a dictionary":                      append(framesOf(t, true, small[0]), 0x28, 0xb5, 0x2f, 0xfd, 1, 0x58, 7, 1, 0, 0),
		"a reserved kind of block":          append(framesOf(t, true, small[0]), 0x28, 0xb5, 0x2f, 0xfd, 0, 0x58, 7, 0, 0),
		"what is no frame":                  append(framesOf(t, true, small[0]), "tail"...),
	}
	whole := blobs["small frames"]
	for i := range 5 {
		blobs[fmt.Sprint("cut ", i)] = whole[:len(whole)-1-r.IntN(len(whole)/2)]
		damaged := slices.Clone(whole)
		damaged[r.IntN(len(damaged))] ^= 1 << r.IntN(8)
		blobs[fmt.Sprint("damaged ", i)] = damaged
	}
	for i := range 6 {
		blobs[fmt.Sprint("cut within the last frame ", i)] = whole[:len(whole)-i]
	}
	for name, blob := range blobs {
		want, wantErr := asStream(blob)
		if wantErr == io.ErrUnexpectedEOF {
			wantErr = errCut
		}
		for i, procs := range []int{1, 4} {
			runtime.GOMAXPROCS(procs)
			got, err := read(t, blobOf(blob, want), 1<<20, Limits{})
			if i == 0 && wantErr != nil && bytes.HasPrefix(got, want) {
				want = got // the block that the fault is in may be returned or not
			}
			if !bytes.Equal(got, want) || (err == nil) != (wantErr == nil) || wantErr != nil && !errors.Is(err, wantErr) && err.Error() != wantErr.Error() {
				t.Errorf("%s, %d processors: %d bytes, %v; want %d bytes, %v", name, procs, len(got), err, len(want), wantErr)
			}
		}
	}
}

// A stream that is closed while groups are decompressed gives their memory back.
func TestGroupsComeBack(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(4))
	r := rand.New(rand.NewPCG(1, 2))
	piece := noise(r, 1<<20, 3)
	blob, plain := bytes.Repeat(framesOf(t, true, piece), 40), bytes.Repeat(piece, 40)
	budget := NewBudget(0)
	for _, n := range []int64{0, 1, 5 << 20, 40 << 20} {
		s := Start(t.Context(), blobOf(blob, plain), budget, NewTally(Limits{}))
		if _, err := io.CopyN(io.Discard, s, n); err != nil {
			t.Error(err)
		}
		if n == 5<<20 && len(budget.pool.groups) == cap(budget.pool.groups) {
			t.Error("nothing is decompressed in parallel")
		}
		s.Close()
		if got, want := len(budget.pool.groups), cap(budget.pool.groups); got != want {
			t.Errorf("after %d bytes %d groups came back, want %d", n, got, want)
		}
	}
}

// Frames that expand to more than a group may have do not make its memory grow.
func TestGroupsKeepTheirSize(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	// Blocks of one byte, repeated 128 Ki times, up to twice the size of a group; the last one is empty.
	frame := []byte{0x28, 0xb5, 0x2f, 0xfd, 0, 0x58}
	for range 2 * maxGroup / (128 << 10) {
		frame = append(frame, 2, 0, 16, 0)
	}
	frame = append(frame, 1, 0, 0)
	filler := skippable(string(make([]byte, groupBytes)))
	blob := bytes.Repeat(slices.Concat(frame, filler), 8)
	budget := NewBudget(0)
	s := Start(t.Context(), blobOf(blob, make([]byte, 8*2*maxGroup)), budget, NewTally(Limits{}))
	if _, err := io.Copy(io.Discard, s); err != nil {
		t.Error(err)
	}
	s.Close()
	for range cap(budget.pool.groups) {
		if g := <-budget.pool.groups; cap(g.in) > 2*maxFrame || cap(g.buf) > maxGroup || g.out != nil {
			t.Errorf("a group has memory for %d and %d bytes, and %d bytes of data", cap(g.in), cap(g.buf), cap(g.out))
		}
	}
}

// Whatever a blob is, it is decompressed as one decoder does, or to an error of its own.
func FuzzFrames(f *testing.F) {
	f.Add(framesOf(f, true, []byte("a"), nil, []byte("bc")))
	f.Add(append(framesOf(f, false, make([]byte, 300_000)), skippable("tail")...))
	f.Fuzz(func(t *testing.T, blob []byte) {
		if compression.Of(blob) != compression.Zstd {
			t.Skip()
		}
		want, wantErr := asStream(blob)
		got, err := read(t, blobOf(blob, want), 0, Limits{LayerBytes: 64 << 20})
		if wantErr == nil && (err != nil || !bytes.Equal(got, want)) {
			t.Errorf("%d bytes, %v; want %d bytes", len(got), err, len(want))
		}
		if wantErr != nil && err == nil {
			t.Errorf("%d bytes; want %v", len(got), wantErr)
		}
	})
}

func BenchmarkFrames(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	var pieces [][]byte
	for range 32 {
		pieces = append(pieces, noise(r, 2<<20, 6))
	}
	plain := slices.Concat(pieces...)
	for name, blob := range map[string][]byte{"many": framesOf(b, true, pieces...), "one": framesOf(b, true, plain)} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(plain)))
			for b.Loop() {
				s := Start(b.Context(), blobOf(blob, plain), NewBudget(32<<20), NewTally(Limits{}))
				if n, err := io.Copy(io.Discard, s); err != nil || n != int64(len(plain)) {
					b.Fatal(n, err)
				}
				s.Close()
			}
		})
	}
}
