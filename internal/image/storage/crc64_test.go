package storage

import (
	"hash/crc64"
	"math/rand/v2"
	"testing"

	"github.com/vbatts/tar-split/tar/storage"
)

func TestCRC64IsTheLibrarys(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	data := make([]byte, 1000)
	for i := range data {
		data[i] = byte(rnd.Uint32())
	}
	for size := range data {
		var got, want uint64
		for rest := data[:size]; ; { // in pieces, each starting with the sum of the previous one
			n := rnd.IntN(len(rest) + 1)
			got, want = updateCRC64(got, rest[:n]), crc64.Update(want, storage.CRCTable, rest[:n])
			if got != want {
				t.Fatalf("%d bytes, the last %d at once: got %x, want %x", size-len(rest)+n, n, got, want)
			}
			if rest = rest[n:]; len(rest) == 0 {
				break
			}
		}
	}
}

func BenchmarkCRC64(b *testing.B) {
	data := make([]byte, bufferSize)
	for name, update := range map[string]func(uint64, []byte) uint64{
		"ours":  updateCRC64,
		"crc64": func(crc uint64, p []byte) uint64 { return crc64.Update(crc, storage.CRCTable, p) },
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(data)))
			var crc uint64
			for b.Loop() {
				crc = update(crc, data)
			}
		})
	}
}
