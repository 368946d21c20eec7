package layer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"

	"osbuild-containers/internal/compression"
	"osbuild-containers/internal/layer/gunzip"
	"osbuild-containers/internal/panics"
)

// errCut: the compressed data say that there is more.
var errCut = errors.New("the compressed data end too early")

// Stream is the archive in a layer.
type Stream struct {
	blob   Blob
	image  *Tally
	cancel context.CancelFunc
	share  *share
	out    chan chunk
	wg     sync.WaitGroup

	cur   chunk
	piece []byte // cur's data that was not passed on
	read  int64

	pass   func([]byte) error // gets each piece that was read, unless it is nil
	passed error              // of pass
}

// Start begins to read a layer of the image ahead, within the budget. Close it.
func Start(ctx context.Context, b Blob, budget *Budget, image *Tally) *Stream {
	ctx, cancel := context.WithCancel(ctx)
	s := &Stream{
		blob: b, image: image, cancel: cancel,
		share: &share{b: budget},
		// The budget bounds the chunks: no goroutine ever waits to send to this channel.
		out: make(chan chunk, budget.max+own+1),
	}
	src := newSource()
	raw := make(chan chunk, own)
	s.wg.Go(func() {
		guard(ctx, src.in, func(err error) block { return block{err: err} }, func() { src.run(ctx, b) })
	})
	s.wg.Go(func() { guard(ctx, raw, failed, func() { s.decompress(ctx, src, raw) }) })
	s.wg.Go(func() { guard(ctx, s.out, failed, func() { s.verify(ctx, raw) }) })
	context.AfterFunc(ctx, s.share.close)
	return s
}

// guard runs work, which sends to out, and closes out. A panic of work is the last that is sent.
func guard[T any](ctx context.Context, out chan<- T, failed func(error) T, work func()) {
	defer close(out)
	err := panics.Catch(func() error {
		work()
		return nil
	})
	if err == nil {
		return
	}
	select {
	case out <- failed(err):
	case <-ctx.Done():
	}
}

func failed(err error) chunk { return chunk{err: err} }

// Read returns what follows of the archive. The error after its last byte is io.EOF
// only when both digests are right.
func (s *Stream) Read(p []byte) (int, error) {
	if err := s.next(); err != nil {
		return 0, err
	}
	n := copy(p, s.cur.data)
	s.step(n)
	return n, nil
}

// Seek steps over what follows of the archive. It only goes forward from where it is.
func (s *Stream) Seek(offset int64, whence int) (int64, error) {
	if whence != io.SeekCurrent || offset < 0 {
		return 0, errors.New("layer: a stream only goes forward")
	}
	for offset > 0 {
		err := s.next()
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return s.read, err
		}
		n := min(offset, int64(len(s.cur.data)))
		s.step(int(n))
		offset -= n
	}
	return s.read, nil
}

// step goes n bytes forward, which are in the chunk.
func (s *Stream) step(n int) {
	s.cur.data = s.cur.data[n:]
	s.read += int64(n)
}

// next makes sure that there is data in the chunk.
func (s *Stream) next() error {
	for len(s.cur.data) == 0 {
		if err := s.flush(); err != nil {
			return err
		}
		if s.cur.err != nil {
			return s.cur.err
		}
		if s.cur.buf != nil {
			s.share.give(s.cur.buf)
		}
		c, ok := <-s.out
		if !ok {
			c.err = context.Canceled
		}
		s.cur, s.piece = c, c.data
		if err := s.image.bytes(int64(len(c.data))); err != nil {
			s.cur.data, s.cur.err, s.piece = nil, err, nil
		}
	}
	return nil
}

// Bytes is how much of the archive was read.
func (s *Stream) Bytes() int64 { return s.read }

// Close ends all that runs.
func (s *Stream) Close() {
	s.cancel()
	for range s.out {
		// Until the sender notices.
	}
	s.wg.Wait()
	s.share.release()
}

// flush passes on what was read of the chunk.
func (s *Stream) flush() error {
	n := len(s.piece) - len(s.cur.data)
	if n > 0 && s.pass != nil && s.passed == nil {
		s.passed = s.pass(s.piece[:n])
	}
	s.piece = s.piece[n:]
	return s.passed
}

// decompress turns the blob into chunks of the archive.
func (s *Stream) decompress(ctx context.Context, src *source, out chan<- chunk) {
	fill, err := decompressor(src)
	var total int64
	for err == nil {
		buf := s.share.take()
		if buf == nil {
			return
		}
		var n int
		n, err = fill(buf)
		if err == io.ErrUnexpectedEOF {
			err = errCut
		}
		if total += int64(n); total > s.image.limits.LayerBytes {
			err = &LimitError{"bytes in the layer's archive", s.image.limits.LayerBytes}
		}
		if n == 0 {
			s.share.give(buf)
			continue
		}
		select {
		case out <- chunk{buf: buf, data: buf[history : history+n]}:
		case <-ctx.Done():
			return
		}
	}
	if err == io.EOF {
		err = src.rest()
	}
	if err == nil {
		err = io.EOF
	} else if !errors.As(err, new(*LimitError)) {
		err = src.damage(err)
	}
	select {
	case out <- chunk{err: err}:
	case <-ctx.Done():
	}
}

// verify takes the digest of the archive.
func (s *Stream) verify(ctx context.Context, in <-chan chunk) {
	sum := newSum(s.blob.DiffID)
	for c := range in {
		sum.Write(c.data)
		if c.err == io.EOF {
			c.err = sum.check("archive", s.blob, 0)
		}
		select {
		case s.out <- c:
		case <-ctx.Done():
			return
		}
	}
}

// decompressor returns a function that decompresses src, as its first bytes say, into a buffer behind the
// space for the history.
func decompressor(src *source) (func(buf []byte) (int, error), error) {
	head, err := src.peek(compression.HeadSize)
	if err != nil && err != io.EOF {
		return nil, err
	}
	switch kind := compression.Of(head); kind {
	case compression.None:
		return filler(src), nil
	case compression.Gzip:
		return gunzip.New(src.next).Fill, nil
	case compression.Zstd:
		z, err := zstd.NewReader(src, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(compression.MaxWindow))
		if err != nil {
			return nil, err
		}
		return filler(z), nil
	default:
		return nil, fmt.Errorf("the layer is compressed with %s, not with gzip or zstd", kind)
	}
}

// filler fills buffers from a reader, whose errors stay.
func filler(r io.Reader) func(buf []byte) (int, error) {
	return func(buf []byte) (n int, err error) {
		for b := buf[history:]; n < len(b) && err == nil; {
			var m int
			m, err = r.Read(b[n:])
			n += m
		}
		if n > 0 {
			return n, nil
		}
		if errors.Is(err, zstd.ErrWindowSizeExceeded) {
			err = fmt.Errorf("%w: more than %d MiB are not allowed", err, compression.MaxWindow>>20)
		}
		return 0, err
	}
}
