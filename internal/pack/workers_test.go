package pack

import (
	"bytes"
	"crypto/sha256"
	"io"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// held is a codec that blocks at each block until released.
type held struct {
	plain
	inside *atomic.Int64
	goOn   <-chan struct{}
}

func (h held) encode(dst, _, block []byte) []byte {
	h.inside.Add(1)
	<-h.goOn
	h.inside.Add(-1)
	return append(dst, block...)
}

// takes writes n bytes, 4 KiB at a time, and counts the bytes accepted.
func takes(z *compressor, n int, taken *atomic.Int64) {
	buf := make([]byte, 4<<10)
	for range n / len(buf) {
		k, err := z.Write(buf)
		taken.Add(int64(k))
		if err != nil {
			return
		}
	}
}

func TestEachCoreHasABlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const workers = 5
		var inside, taken atomic.Int64
		goOn := make(chan struct{})
		codecs := make([]codec, workers+1)
		for i := range codecs {
			codecs[i] = held{inside: &inside, goOn: goOn}
		}
		var out bytes.Buffer
		z := start(&out, sha256.New(), codecs)
		const size = 30 * gzipBlock
		go func() {
			takes(z, size, &taken)
			must(t, z.Close())
		}()
		synctest.Wait() // until all goroutines block
		if n := inside.Load(); n != workers {
			t.Errorf("%d blocks are compressed at the same time, want %d", n, workers)
		}
		if n := taken.Load(); n > (2*workers+12)*gzipBlock {
			t.Errorf("%d bytes were taken while nothing was compressed", n)
		}
		close(goOn)
		synctest.Wait()
		if out.Len() != size {
			t.Errorf("%d bytes came out, want %d", out.Len(), size)
		}
	})
}

// A disk slower than the cores must not fill the memory.
func TestNothingIsTakenThatCannotBeWritten(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(3))
	for _, c := range formats {
		synctest.Test(t, func(t *testing.T) {
			disk := make(chan struct{})
			var taken atomic.Int64
			z, err := compress(writerFunc(func([]byte) { <-disk }), sha256.New(), c)
			must(t, err)
			const size = 40 << 20
			go func() {
				takes(z, size, &taken)
				must(t, z.Close())
			}()
			synctest.Wait()
			if n, most := int(taken.Load()), (2*3+12)*z.block; n > most || n < z.block {
				t.Errorf("%+v: %d bytes were taken while the disk is stuck, want at most %d", c, n, most)
			}
			close(disk)
			synctest.Wait()
			if taken.Load() != size {
				t.Errorf("%+v: %d bytes were taken, want %d", c, taken.Load(), size)
			}
		})
	}
}

// broken is a codec that panics.
type broken struct{ plain }

func (broken) encode(_, _, _ []byte) []byte { panic("oh") }

type panicking struct{}

func (panicking) Write([]byte) (int, error) { panic("oh") }

// A panic in a goroutine makes Close return an error.
func TestPanicIsAnError(t *testing.T) {
	t.Parallel()
	for name, z := range map[string]*compressor{
		"worker": start(io.Discard, nil, []codec{broken{}, broken{}, plain{}}),
		"writer": start(panicking{}, nil, []codec{plain{}, plain{}}),
	} {
		for range 40 {
			if _, err := z.Write(make([]byte, gzipBlock)); err != nil {
				break
			}
		}
		if err := z.Close(); err == nil || !strings.Contains(err.Error(), "internal error: oh") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
