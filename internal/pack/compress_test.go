package pack

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

var formats = []Compression{{}, {Format: "gzip", Level: 1}, {Format: "gzip", Level: 8}, {Format: "zstd"}, {Format: "zstd", Level: 19}, {Format: "none"}}

// noise returns bytes with about this many bits of entropy each.
func noise(n, bits int, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 0))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32() & (1<<bits - 1))
	}
	return b
}

func compressed(t testing.TB, c Compression, data []byte, step int) []byte {
	var out bytes.Buffer
	diff := sha256.New()
	z, err := compress(&out, diff, c)
	if err != nil {
		t.Fatal(err)
	}
	for rest := data; len(rest) > 0; {
		n, err := z.Write(rest[:min(step, len(rest))])
		if err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	if got, want := digest.NewDigest(digest.SHA256, diff), digest.FromBytes(data); got != want {
		t.Errorf("the diff id of %d bytes is %s, want %s", len(data), got, want)
	}
	return out.Bytes()
}

func TestCompressRoundTrip(t *testing.T) {
	text := []byte(strings.Repeat("all work and no play makes jack a dull boy. ", 20_000))
	inputs := map[string][]byte{
		"nothing": nil, "a byte": {7}, "zeros": make([]byte, 3<<20), "text": text, "noise": noise(1<<20+5, 8, 1),
		"mixed": bytes.Join([][]byte{text, noise(1<<20+1, 5, 2), text[:99], noise(1<<19, 4, 3)}, nil),
	}
	for _, n := range []int{piece, gzipBlock - 1, gzipBlock, gzipBlock + 1, 2 * gzipBlock, zstdBlock + 1} {
		inputs[fmt.Sprint("of ", n)] = noise(n, 4, uint64(n))
	}
	for name, data := range inputs {
		for _, c := range formats {
			if c.Level > 1 && len(data) != gzipBlock+1 && len(data) != zstdBlock+1 {
				continue // too slow for all inputs
			}
			z := compressed(t, c, data, 100_000)
			if got := unpack(t, c.mediaType(), z); !bytes.Equal(got, data) {
				t.Errorf("%s, %+v: %d bytes became %d others", name, c, len(data), len(got))
			}
			if c.Level > 1 {
				continue
			}
			if other := compressed(t, c, data, 3<<20); !bytes.Equal(other, z) {
				t.Errorf("%s, %+v: written in other steps it becomes other bytes", name, c)
			}
		}
	}
}

// The output of an encoder must not depend on data it has seen before: blocks are assigned to workers at random.
func TestEncodersKeepNoState(t *testing.T) {
	for _, c := range formats {
		used, err := c.codec()
		must(t, err)
		for i := range 5 {
			data := noise(used.block()/(i%3+6), i+4, uint64(i))
			fresh, err := c.codec()
			must(t, err)
			dict := noise(window, i+4, uint64(i))
			if !bytes.Equal(used.encode(nil, dict, data), fresh.encode(nil, dict, data)) {
				t.Fatalf("%+v: block %d depends on the blocks before", c, i)
			}
		}
	}
}

func TestLevelsDiffer(t *testing.T) {
	data := noise(1<<20, 5, 1)
	for i := range data { // repeated words
		if i > 5000 && i%7 < 5 {
			data[i] = data[i-4000-i/5000%100]
		}
	}
	size := func(c Compression) int { return len(compressed(t, c, data, 1<<20)) }
	for _, sizes := range [][]int{
		{size(Compression{Format: "none"}), size(Compression{Level: 1}), size(Compression{}), size(Compression{Level: 9})},
		{size(Compression{Format: "zstd", Level: 1}), size(Compression{Format: "zstd", Level: 19})},
	} {
		for i := range sizes[1:] {
			if sizes[i+1] >= sizes[i] {
				t.Errorf("sizes are %d, want each smaller than the one before", sizes)
			}
		}
	}
}

type brokenWriter struct{ left int }

var errBroken = errors.New("broken")

func (w *brokenWriter) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, errBroken
	}
	return len(p), nil
}

func TestErrorsOfTheWriterComeBack(t *testing.T) {
	for _, left := range []int{0, 100, 5 << 20, 20<<20 + 5} {
		z, err := compress(&brokenWriter{left}, sha256.New(), Compression{Level: 1})
		must(t, err)
		_, err = io.Copy(z, bytes.NewReader(noise(20<<20, 8, 1)))
		if err != nil && !errors.Is(err, errBroken) {
			t.Errorf("after %d bytes: write says %v", left, err)
		}
		if err := z.Close(); !errors.Is(err, errBroken) {
			t.Errorf("after %d bytes: close says %v", left, err)
		}
	}
}

func TestHeadersOfHugeBlobs(t *testing.T) {
	for _, size := range []int64{0, 8<<30 - 1, 8 << 30, 5 << 40} {
		f, err := os.Create(filepath.Join(t.TempDir(), "a"))
		must(t, err)
		defer f.Close()
		a := &archive{f: f, mtime: epoch}
		must(t, a.header(0, &tar.Header{Typeflag: tar.TypeReg, Name: "blobs/sha256/" + strings.Repeat("a", 64), Mode: 0o644, Size: size}))
		_, err = f.Seek(0, io.SeekStart)
		must(t, err)
		hdr, err := tar.NewReader(f).Next()
		must(t, err)
		if fi, _ := f.Stat(); hdr.Size != size || fi.Size() != blockSize {
			t.Errorf("size %d is read as %d, in a header of %d bytes", size, hdr.Size, fi.Size())
		}
	}
}

func FuzzCompress(f *testing.F) {
	f.Add([]byte("text"), uint8(0), uint8(3))
	f.Add(noise(piece+1, 8, 1), uint8(2), uint8(40))
	f.Fuzz(func(t *testing.T, data []byte, format, times uint8) {
		data = bytes.Repeat(data, int(times))
		c := formats[int(format)%len(formats)]
		if got := unpack(t, c.mediaType(), compressed(t, c, data, 70_001)); !bytes.Equal(got, data) {
			t.Errorf("%d bytes became %d others", len(data), len(got))
		}
	})
}
