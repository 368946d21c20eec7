package pack

import (
	"hash"
	"io"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"osbuild-containers/internal/panics"
)

const (
	// maxWorkers bounds memory: each worker has an encoder and two blocks, about 10 MiB.
	maxWorkers = 16

	// window is deflate's window in bytes: how much of the previous block a block gets as its dictionary.
	window = 32 << 10
)

// job is one block to compress.
type job struct {
	raw  []byte
	dict []byte // end of the previous block
	out  []byte
	done chan struct{} // receives a value when out is ready
}

// compressor splits its input into blocks, compresses them on all cores, and writes the results in order. Blocks and their
// compression depend only on the data, so the output does not depend on the number of cores.
type compressor struct {
	w    io.Writer
	diff hash.Hash // hash of the uncompressed stream; may be nil
	sum  codec     // computes the checksum of the input for the format
	size atomic.Int64

	cur   *job
	block int
	free  chan *job
	todo  chan *job // to the workers
	order chan *job // to the collector
	wg    sync.WaitGroup

	mu  sync.Mutex
	err error // the first error, of w or of a worker
}

// Compress returns a writer that compresses to w. The output does not depend on the number of processors. The caller must
// close the writer, which does not close w.
func Compress(w io.Writer, c Compression) (io.WriteCloser, error) { return compress(w, nil, c) }

// compress returns a compressor that writes to w and, unless diff is nil, hashes its input with it. The caller must close it,
// which does not close w.
func compress(w io.Writer, diff hash.Hash, c Compression) (*compressor, error) {
	codecs := make([]codec, min(runtime.GOMAXPROCS(0), maxWorkers)+1)
	for i := range codecs {
		var err error
		if codecs[i], err = c.codec(); err != nil {
			return nil, err
		}
	}
	return start(w, diff, codecs), nil
}

// start starts a worker for each codec except the last, which follows the stream.
func start(w io.Writer, diff hash.Hash, codecs []codec) *compressor {
	workers := len(codecs) - 1
	// Two jobs per worker, one being compressed and one waiting, and some more so that a slow reader or writer does
	// not block the workers.
	jobs := 2*workers + 12
	z := &compressor{
		w: w, diff: diff, sum: codecs[workers], block: codecs[workers].block(),
		free: make(chan *job, jobs), todo: make(chan *job, jobs), order: make(chan *job, jobs),
	}
	for range jobs {
		z.free <- &job{done: make(chan struct{}, 1)}
	}
	for _, enc := range codecs[:workers] {
		z.wg.Go(func() {
			for j := range z.todo {
				z.fail(panics.Catch(func() error {
					j.out = enc.encode(j.out[:0], j.dict, j.raw)
					return nil
				}))
				j.done <- struct{}{}
			}
		})
	}
	z.wg.Go(z.collect)
	z.cur = z.take()
	return z
}

// take waits for a free job, which bounds memory.
func (z *compressor) take() *job {
	j := <-z.free
	j.raw, j.dict = slices.Grow(j.raw[:0], z.block), j.dict[:0]
	return j
}

// Write implements io.Writer. Errors of the underlying writer are returned by a later call or by Close.
func (z *compressor) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		k := min(len(p), z.block-len(z.cur.raw))
		z.cur.raw = append(z.cur.raw, p[:k]...)
		p = p[k:]
		if len(z.cur.raw) < z.block {
			break
		}
		next := z.take()
		next.dict = append(next.dict, z.cur.raw[max(0, z.block-window):]...)
		z.send(z.cur)
		z.cur = next
		if err := z.failed(); err != nil {
			return 0, err
		}
	}
	z.size.Add(int64(n))
	return n, nil
}

func (z *compressor) send(j *job) {
	z.order <- j
	z.todo <- j
}

// Close compresses the rest and ends the stream. It must be called, also after an error.
func (z *compressor) Close() error {
	if len(z.cur.raw) > 0 {
		z.send(z.cur)
	}
	close(z.todo)
	close(z.order)
	z.wg.Wait()
	z.put(z.sum.trailer())
	return z.failed()
}

// collect writes the compressed blocks in input order.
func (z *compressor) collect() {
	z.put(z.sum.header())
	for j := range z.order {
		if z.diff != nil {
			_, _ = z.diff.Write(j.raw) // a hash does not fail
		}
		z.sum.count(j.raw)
		<-j.done
		z.put(j.out)
		z.free <- j
	}
}

func (z *compressor) put(p []byte) {
	if len(p) == 0 || z.failed() != nil {
		return
	}
	z.fail(panics.Catch(func() error {
		_, err := z.w.Write(p)
		return err
	}))
}

// fail records the first error.
func (z *compressor) fail(err error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.err == nil {
		z.err = err
	}
}

func (z *compressor) failed() error {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.err
}
