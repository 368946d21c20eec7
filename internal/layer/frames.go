package layer

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"sync"

	"github.com/klauspost/compress/zstd"

	"osbuild-containers/internal/compression"
	"osbuild-containers/internal/panics"
)

// A blob of zstd is one frame or many. Those of zstd:chunked and of the oci-archive stage have many small ones, which
// know nothing of each other. They are decompressed in groups, in parallel.
const (
	groupBytes = 256 << 10 // compressed bytes after which a group ends
	groupSize  = 1 << 20   // the same of decompressed bytes, where frames state their size
	maxFrame   = 3 << 20   // bytes of a frame, compressed and not; a larger one is decompressed as it is read
	maxGroup   = groupSize + maxFrame
)

// errLarge says that a frame is not to be in a group.
var errLarge = errors.New("a large frame")

// options of all decoders. A decoder with a goroutine for each stage of its work costs more than it gains.
var options = []zstd.DOption{
	zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(compression.MaxWindow),
}

// pool holds the memory for groups that are decompressed in parallel.
type pool struct {
	groups  chan *group // those that are free
	decoder func() (*zstd.Decoder, error)
}

// newPool returns a pool for two groups for each processor, or for none if there is one processor.
func newPool() pool {
	procs := runtime.GOMAXPROCS(0)
	n := 2 * procs
	if procs == 1 {
		n = 0
	}
	p := pool{groups: make(chan *group, n)}
	for range n {
		p.groups <- &group{}
	}
	p.decoder = sync.OnceValues(func() (*zstd.Decoder, error) {
		return zstd.NewReader(nil, append(options, zstd.WithDecoderConcurrency(procs), zstd.WithDecodeAllCapLimit(true))...)
	})
	return p
}

// group is one or more frames.
type group struct {
	in   []byte
	buf  []byte // memory for out
	out  []byte
	err  error
	done chan struct{} // closed when out or err is set
}

// decode decompresses the frames, if they take at most maxGroup bytes.
func (g *group) decode(p pool) {
	defer close(g.done)
	if g.buf == nil {
		g.buf = make([]byte, 0, maxGroup)
	}
	g.err = panics.Catch(func() error {
		d, err := p.decoder()
		if err == nil {
			// What exceeds buf is in new memory, which must not take its place: it would grow each time.
			g.out, err = d.DecodeAll(g.in, g.buf)
		}
		return err
	})
}

// frames decompresses a blob of zstd. Data and error do not depend on the number of processors: how the frames are
// grouped depends only on the blob, and a group that cannot be decompressed at once is decompressed as a stream, which
// returns what precedes the fault.
type frames struct {
	src   *source
	share *share
	pool  pool
	wg    *sync.WaitGroup // of the goroutines

	own     *group        // for when the pool has none
	queue   []*group      // read, in order
	data    []byte        // of the first of them, not returned yet
	stream  *zstd.Decoder // what Read reads from, or nil
	decoder *zstd.Decoder // for all streams: its memory may be as large as the largest window
	last    bool          // stream is the rest of the blob

	rest []byte // begin of what is not in a group, and is to be read as a stream
	end  bool   // all groups were read
}

// Read implements io.Reader.
func (f *frames) Read(p []byte) (int, error) {
	for {
		if len(f.data) > 0 {
			n := copy(p, f.data)
			f.data = f.data[n:]
			return n, nil
		}
		if f.stream != nil {
			n, err := f.stream.Read(p)
			if f.last || err != io.EOF {
				return n, err
			}
			f.stream = nil
			if n > 0 {
				return n, nil
			}
		}
		if err := f.next(); err != nil {
			return 0, err
		}
	}
}

// next makes the next group, or the rest, what Read reads from.
func (f *frames) next() error {
	if len(f.queue) > 0 { // Read has returned all of it
		f.free(f.queue[0])
		f.queue = f.queue[1:]
	}
	for !f.end {
		g := f.take()
		if g == nil {
			break
		}
		if !f.fill(g) {
			f.free(g)
			break
		}
		g.done = make(chan struct{})
		f.queue = append(f.queue, g)
		if g == f.own {
			g.decode(f.pool)
			break
		}
		f.wg.Go(func() { g.decode(f.pool) })
	}
	if len(f.queue) == 0 {
		rest := bytes.NewReader(f.rest)
		f.last, f.own, f.rest = true, nil, nil
		return f.open(io.MultiReader(rest, f.src))
	}
	g := f.queue[0]
	<-g.done
	if g.err != nil {
		return f.open(bytes.NewReader(g.in))
	}
	f.data = g.out
	return nil
}

// open makes Read read a stream.
func (f *frames) open(r io.Reader) (err error) {
	r = &gate{r: r, share: f.share}
	if f.decoder == nil {
		f.decoder, err = zstd.NewReader(r, options...)
	} else {
		err = f.decoder.Reset(r)
	}
	f.stream = f.decoder
	return err
}

// take returns memory for a group: without waiting, its own if the pool has none and nothing is in the queue.
func (f *frames) take() *group {
	select {
	case g := <-f.pool.groups:
		return g
	default:
	}
	if len(f.queue) > 0 {
		return nil
	}
	if f.own == nil {
		f.own = &group{}
	}
	return f.own
}

// free gives the memory of a group back.
func (f *frames) free(g *group) {
	g.out, g.done, g.err = nil, nil, nil
	if g != f.own {
		f.pool.groups <- g
	}
}

// close frees all memory.
func (f *frames) close() {
	for _, g := range f.queue {
		f.free(g)
	}
	f.queue, f.stream, f.decoder = nil, nil, nil
}

// fill reads the next group, and reports whether there is one. Where there is none, f.rest is the begin of what was read.
func (f *frames) fill(g *group) bool {
	g.in = g.in[:0]
	for size := uint64(0); len(g.in) < groupBytes && size < groupSize; {
		begin := len(g.in)
		n, err := f.frame(g)
		if err != nil {
			f.end, f.rest = true, append(f.rest, g.in[begin:]...)
			g.in = g.in[:begin]
			break
		}
		size += n
	}
	return len(g.in) > 0
}

// frame appends the next frame to a group. It returns the size that the frame states, or an error if the
// frame, which may then be there in part, is too large or damaged.
func (f *frames) frame(g *group) (size uint64, err error) {
	begin := len(g.in)
	var w walk
	for !w.end {
		if err := f.read(g, begin, 1); err != nil {
			return 0, err
		}
		n, err := w.next(g.in[len(g.in)-1])
		if err != nil {
			return 0, err
		}
		if w.header.FrameContentSize > maxFrame {
			return 0, errLarge
		}
		if err := f.read(g, begin, n); err != nil {
			return 0, err
		}
	}
	return w.header.FrameContentSize, nil
}

// read appends n bytes of the blob to a group whose last frame begins at begin.
func (f *frames) read(g *group, begin int, n int64) error {
	if int64(len(g.in)-begin)+n > maxFrame {
		return errLarge
	}
	for n > 0 {
		b, err := f.src.next()
		if err != nil {
			return err
		}
		k := min(n, int64(len(b)))
		g.in = append(g.in, b[:k]...)
		f.src.unread = b[k:]
		n -= k
	}
	return nil
}
