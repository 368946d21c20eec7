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

// errCut is returned if the compressed data end before their end mark.
var errCut = errors.New("the compressed data end too early")

// Stream is the uncompressed archive of a layer.
type Stream struct {
	blob   Blob
	image  *Tally
	cancel context.CancelFunc
	share  *share
	out    chan chunk
	wg     sync.WaitGroup
	frames *frames // set by one of the goroutines, if the blob is zstd

	cur   chunk
	piece []byte // data of cur not passed on yet
	read  int64

	pass   func([]byte) error // gets each piece that was read, if not nil
	passed error              // error of pass
}

// Start starts reading a layer, within the budget. The caller must read the stream to its end, or close it, without waiting
// for another one of the same budget: there may be memory for only one large window of zstd. It must close the stream.
func Start(ctx context.Context, b Blob, budget *Budget, image *Tally) *Stream {
	return start(ctx, b, budget, image, false)
}

// StartAhead is Start for a stream that is read ahead of another. It may have no data until Prioritize is called.
func StartAhead(ctx context.Context, b Blob, budget *Budget, image *Tally) *Stream {
	return start(ctx, b, budget, image, true)
}

// Prioritize makes a stream that is read ahead like one of Start.
func (s *Stream) Prioritize() { s.share.prioritize() }

func start(ctx context.Context, b Blob, budget *Budget, image *Tally, ahead bool) *Stream {
	ctx, cancel := context.WithCancel(ctx)
	s := &Stream{
		blob: b, image: image, cancel: cancel,
		share: &share{b: budget, ahead: ahead},
		// The budget bounds the chunks, so no goroutine ever blocks sending to this channel.
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

// guard runs work, which sends to out, and then closes out. If work panics, the panic is sent as the last value.
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

// Read implements io.Reader. The error after the last byte is io.EOF only if both digests match.
func (s *Stream) Read(p []byte) (int, error) {
	if err := s.next(); err != nil {
		return 0, err
	}
	n := copy(p, s.cur.data)
	s.step(n)
	return n, nil
}

// Seek skips part of the archive. It only seeks forward from the current position.
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

// step advances n bytes within the chunk.
func (s *Stream) step(n int) {
	s.cur.data = s.cur.data[n:]
	s.read += int64(n)
}

// next ensures that the chunk has data.
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

// Bytes returns how much of the archive has been read.
func (s *Stream) Bytes() int64 { return s.read }

// Close stops all goroutines.
func (s *Stream) Close() {
	s.cancel()
	for range s.out {
		// Drain until the sender notices.
	}
	s.wg.Wait()
	if s.frames != nil {
		s.frames.close()
	}
	s.share.release()
}

// flush passes on what has been read of the chunk.
func (s *Stream) flush() error {
	n := len(s.piece) - len(s.cur.data)
	if n > 0 && s.pass != nil && s.passed == nil {
		s.passed = s.pass(s.piece[:n])
	}
	s.piece = s.piece[n:]
	return s.passed
}

// decompress sends the uncompressed archive in chunks.
func (s *Stream) decompress(ctx context.Context, src *source, out chan<- chunk) {
	fill, err := s.decompressor(src)
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

// verify computes the digest of the archive.
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

// decompressor returns a function that decompresses src, by the format that its first bytes show, into a buffer after
// the space for the history.
func (s *Stream) decompressor(src *source) (func(buf []byte) (int, error), error) {
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
		s.frames = &frames{src: src, share: s.share, pool: s.share.b.pool, wg: &s.wg}
		return filler(s.frames), nil
	default:
		return nil, fmt.Errorf("the layer is compressed with %s, not with gzip or zstd", kind)
	}
}

// filler fills buffers from a reader. An error of the reader is permanent.
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
		if errors.Is(err, zstd.ErrWindowSizeExceeded) || errors.Is(err, zstd.ErrDecoderSizeExceeded) {
			err = fmt.Errorf("%w: more than %d MiB are not allowed", err, compression.MaxWindow>>20)
		}
		return 0, err
	}
}
