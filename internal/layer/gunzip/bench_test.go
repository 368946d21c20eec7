package gunzip

import (
	"bytes"
	"compress/gzip"
	"io"
	"testing"

	klauspost "github.com/klauspost/compress/gzip"
)

// BenchmarkFill compares this package with libraries.
func BenchmarkFill(b *testing.B) {
	s := samples(b)
	zipped := zip(b, gzip.DefaultCompression, s["text"], s["skewed"])
	size := len(s["text"]) + len(s["skewed"])
	buf := make([]byte, History+256<<10)
	for _, c := range []struct {
		name string
		read func() (int, error)
	}{
		{"ours", func() (n int, err error) {
			for r := New(pieces(zipped, 128<<10)); err == nil; {
				var m int
				m, err = r.Fill(buf)
				n += m
			}
			return n, err
		}},
		{"klauspost", func() (int, error) {
			r, err := klauspost.NewReader(bytes.NewReader(zipped))
			if err != nil {
				return 0, err
			}
			return readAll(r, buf)
		}},
		{"library", func() (int, error) {
			r, err := gzip.NewReader(bytes.NewReader(zipped))
			if err != nil {
				return 0, err
			}
			return readAll(r, buf)
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(size))
			for b.Loop() {
				if n, err := c.read(); n != size || err != io.EOF {
					b.Fatalf("%d bytes, want %d, error %v", n, size, err)
				}
			}
		})
	}
}

func readAll(r io.Reader, buf []byte) (n int, err error) {
	for err == nil {
		var m int
		m, err = r.Read(buf)
		n += m
	}
	return n, err
}
