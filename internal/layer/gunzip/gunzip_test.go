package gunzip

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"testing"
)

// pieces returns data in pieces of the given size.
func pieces(data []byte, size int) func() ([]byte, error) {
	return func() ([]byte, error) {
		if len(data) == 0 {
			return nil, io.EOF
		}
		n := min(size, len(data))
		piece := bytes.Clone(data[:n])
		data = data[n:]
		return piece, nil
	}
}

// unzip decompresses data, and panics if anything after the buffer is written.
func unzip(data []byte, size, buffer int) ([]byte, error) {
	const behind = "behind the buffer"
	r := New(pieces(data, size))
	buf := append(make([]byte, buffer, buffer+len(behind)), behind...)
	var out []byte
	for {
		n, err := r.Fill(buf[:buffer])
		if string(buf[buffer:]) != behind {
			panic("wrote behind the buffer")
		}
		out = append(out, buf[History:History+n]...)
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return out, err
		}
	}
}

func zip(t testing.TB, level int, members ...[]byte) []byte {
	var b bytes.Buffer
	for _, m := range members {
		w, err := gzip.NewWriterLevel(&b, level)
		if err != nil {
			t.Fatal(err)
		}
		w.Name, w.Comment, w.Extra = "name", "a comment", []byte("extra")
		if _, err := w.Write(m); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// samples returns various data: random, repeated near and far, text, zeros.
func samples(t testing.TB) map[string][]byte {
	rnd := rand.New(rand.NewPCG(1, 2))
	noise := make([]byte, 200_000)
	for i := range noise {
		noise[i] = byte(rnd.Uint32())
	}
	skewed := make([]byte, 300_000) // long codes: skewed frequencies
	for i := range skewed {
		skewed[i] = byte(int(rnd.ExpFloat64()*3) * 7)
	}
	var far []byte
	for range 20 {
		far = append(far, noise[:32<<10]...)
	}
	var near []byte
	for p := 1; p < 40; p++ {
		for range 50 {
			near = append(near, noise[:p]...)
		}
	}
	text, err := os.ReadFile("codes.go")
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{
		"empty": {}, "one": {7}, "noise": noise, "skewed": skewed, "far": far, "near": near,
		"text": bytes.Repeat(text, 40), "zeros": make([]byte, 1<<20),
	}
}

func TestSameBytesAsTheLibrary(t *testing.T) {
	for name, data := range samples(t) {
		for _, level := range []int{gzip.NoCompression, gzip.BestSpeed, gzip.BestCompression, gzip.HuffmanOnly} {
			zipped := zip(t, level, data)
			for _, size := range []int{1, 7, 4096, 1 << 20} {
				for _, buffer := range []int{MinBuffer, 300_000} {
					got, err := unzip(zipped, size, buffer)
					if err != nil || !bytes.Equal(got, data) {
						t.Errorf("%s, level %d, pieces of %d, buffer %d: %d bytes, want %d, error %v",
							name, level, size, buffer, len(got), len(data), err)
					}
				}
			}
		}
	}
}

func TestManyMembersAreOneStream(t *testing.T) {
	s := samples(t)
	zipped := zip(t, 6, s["text"], s["empty"], s["noise"], s["empty"])
	want := append(bytes.Clone(s["text"]), s["noise"]...)
	for _, size := range []int{1, 1000, 1 << 20} {
		if got, err := unzip(zipped, size, 100_000); err != nil || !bytes.Equal(got, want) {
			t.Errorf("pieces of %d: %d bytes, want %d, error %v", size, len(got), len(want), err)
		}
	}
}

// Like gzip itself, accept zeros after the last member, as added by block devices and tapes.
func TestZerosMayFollow(t *testing.T) {
	data := samples(t)["text"]
	zipped := zip(t, 6, data, data)
	for _, zeros := range []int{1, 15, 16, 512, 1 << 20} {
		for _, size := range []int{1, 1000, 1 << 20} {
			got, err := unzip(append(bytes.Clone(zipped), make([]byte, zeros)...), size, MinBuffer)
			if err != nil || len(got) != 2*len(data) {
				t.Errorf("%d zeros, pieces of %d: %d bytes, want %d, error %v", zeros, size, len(got), 2*len(data), err)
			}
		}
	}
}

func TestInvalidDataIsAnError(t *testing.T) {
	data := samples(t)["text"]
	zipped := zip(t, 6, data)
	change := func(at int) []byte {
		b := bytes.Clone(zipped)
		b[at] ^= 1
		return b
	}
	for name, c := range map[string]struct {
		data []byte
		want error
	}{
		"nothing":                {nil, io.ErrUnexpectedEOF},
		"zeros":                  {make([]byte, 100), ErrHeader},
		"not gzip":               {[]byte("this is not gzip at all"), ErrHeader},
		"checksum":               {change(len(zipped) - 8), ErrChecksum},
		"length":                 {change(len(zipped) - 1), ErrChecksum},
		"garbage":                {append(bytes.Clone(zipped), "garbage behind it"...), ErrHeader},
		"garbage behind zeros":   {append(append(bytes.Clone(zipped), make([]byte, 3000)...), 1), ErrHeader},
		"a member behind a zero": {append(append(bytes.Clone(zipped), 0), zipped...), ErrHeader},
	} {
		if _, err := unzip(c.data, 1000, MinBuffer); !errors.Is(err, c.want) {
			t.Errorf("%s: error %v, want %v", name, err, c.want)
		}
	}
	for cut := range 40 { // in the header, in the codes, in the trailer
		for _, short := range [][]byte{zipped[:cut], zipped[:len(zipped)-1-cut], zipped[:len(zipped)/40*cut]} {
			if _, err := unzip(short, 100, MinBuffer); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("%d of %d bytes: error %v, want an unexpected end", len(short), len(zipped), err)
			}
		}
	}
}

func TestErrorOfTheInputIsKept(t *testing.T) {
	broken := errors.New("broken")
	zipped := zip(t, 6, samples(t)["text"])
	feed := pieces(zipped[:len(zipped)/2], 100)
	r := New(func() ([]byte, error) {
		p, err := feed()
		if err == io.EOF {
			err = broken
		}
		return p, err
	})
	buf := make([]byte, MinBuffer)
	var err error
	for err == nil {
		_, err = r.Fill(buf)
	}
	if !errors.Is(err, broken) {
		t.Errorf("error %v, want %v", err, broken)
	}
}

// FuzzLikeTheLibrary takes deflate data without header and trailer, since fuzzing rarely finds a valid checksum.
func FuzzLikeTheLibrary(f *testing.F) {
	s := samples(f)
	for _, data := range [][]byte{s["near"][:2000], s["skewed"][:3000], s["noise"][:300], s["text"][:3000]} {
		for _, level := range []int{0, 1, 6, flate.HuffmanOnly} {
			var b bytes.Buffer
			w, err := flate.NewWriter(&b, level)
			if err != nil {
				f.Fatal(err)
			}
			_, _ = w.Write(data)
			_ = w.Close()
			f.Add(b.Bytes(), 64)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, size int) {
		in := bytes.NewReader(data)
		want, wantErr := io.ReadAll(io.LimitReader(flate.NewReader(in), 1<<20))
		zipped := []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0}
		zipped = append(zipped, data[:len(data)-in.Len()]...)
		zipped = binary.LittleEndian.AppendUint32(zipped, crc32.ChecksumIEEE(want))
		zipped = binary.LittleEndian.AppendUint32(zipped, uint32(len(want)))
		if len(want) == 1<<20 {
			t.Skip("a bomb")
		}
		got, err := unzip(zipped, max(size, 1), MinBuffer)
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("error %v, the library's %v", err, wantErr)
		}
		if err == nil && !bytes.Equal(got, want) {
			t.Fatalf("%d bytes differ from the library's %d", len(got), len(want))
		}
	})
}
