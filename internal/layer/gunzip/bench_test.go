package gunzip

import (
	"compress/gzip"
	"io"
	"testing"
)

func BenchmarkFill(b *testing.B) {
	s := samples(b)
	zipped := zip(b, gzip.DefaultCompression, s["text"], s["skewed"])
	buf := make([]byte, 256<<10)
	b.SetBytes(int64(len(s["text"]) + len(s["skewed"])))
	for b.Loop() {
		r := New(pieces(zipped, 128<<10))
		for {
			if _, err := r.Fill(buf); err == io.EOF {
				break
			} else if err != nil {
				b.Fatal(err)
			}
		}
	}
}
