package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"osbuild-containers/internal/image"
	"osbuild-containers/internal/image/registry"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/retry"
)

// reader reads a blob over as many connections as needed: when one breaks, the next resumes at the same offset. The
// size may be unknown. The reader does not verify; the caller does, and may restart it. It is for one goroutine.
type reader struct {
	s  *session
	d  manifest.Descriptor
	op *retry.Operation

	// Optional fields, to be set before the first Read.
	slot    func(context.Context) (release func(), err error) // held while a connection is open
	rewind  func() error                                      // discards what was read; nil means to read it again and skip it
	opened  func(start int64)                                 // called for each connection
	arrived func(n int)                                       // called for all bytes received, skipped ones included

	ctx     context.Context
	at      int64         // offset of the next byte
	src     image.Source  // of r
	r       io.ReadCloser // nil: no connection is open
	w       *retry.Watch  // of r
	release func()        // gives back the slot
	noRange bool          // the server cannot resume in the middle
	ended   bool          // a blob of unknown size was read to its end
	second  bool          // reading again after content that did not match or was not a blob
}

// newReader returns a reader of the blob from offset. note is called for each failed try that is repeated.
func (s *session) newReader(ctx context.Context, d manifest.Descriptor, offset int64, note func(retry.Failure)) *reader {
	r := &reader{
		s: s, d: d, ctx: ctx, at: offset, op: s.it.tries.New(note),
		slot:    func(context.Context) (func(), error) { return func() {}, nil },
		opened:  func(int64) {},
		arrived: func(int) {},
	}
	r.op.StartAt(offset)
	r.op.Renew = func(ctx context.Context) error { return s.renew(ctx, r.op, r.src) }
	return r
}

// Read implements io.Reader. It returns a manifest.MismatchError if there are more bytes than the blob has.
func (r *reader) Read(p []byte) (n int, err error) {
	if r.r == nil && (r.at == r.d.Size || r.ended) {
		return 0, io.EOF
	}
	err = r.op.Repeat(r.ctx, func(context.Context) (err error) {
		n, err = r.try(p)
		return err
	})
	r.at += int64(n)
	switch {
	case err != nil:
		return 0, err
	case r.d.Size >= 0 && r.at > r.d.Size:
		_ = r.drop(nil)
		return 0, manifest.TooLong("", r.d.Size)
	case r.at > manifest.MaxUnsized && r.d.Size < 0:
		_ = r.drop(nil)
		return 0, fmt.Errorf("more than the limit of %d bytes for a layer", int64(manifest.MaxUnsized))
	case r.r == nil:
		r.op.Done()
		return 0, io.EOF
	}
	return n, nil
}

// try reads some bytes, opening a connection if none is open. At the end of the blob it closes the connection.
func (r *reader) try(p []byte) (int, error) {
	if r.r == nil {
		if err := r.open(); err != nil {
			return 0, err
		}
	}
	if r.ctx.Err() != nil { // readers of a storage take no context
		return 0, r.drop(context.Cause(r.ctx))
	}
	r.w.Resume()
	n, err := r.receive(p)
	switch {
	case n > 0 || err == nil:
		r.op.Reached(r.at + int64(n))
		r.w.Pause()
		return n, nil
	case r.at == r.d.Size:
		return 0, r.drop(nil)
	case err == io.EOF && r.d.Size < 0:
		r.ended = true
		return 0, r.drop(nil)
	case err == io.EOF:
		err = fmt.Errorf("answer ended early: got %d bytes, want %d%.0w", r.at, r.d.Size, io.ErrUnexpectedEOF)
	}
	return 0, r.drop(err)
}

// receive reads from the connection.
func (r *reader) receive(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if n > 0 {
		r.w.Moved(n)
		r.arrived(n)
	}
	return n, err
}

// open opens a connection at the offset, or at 0 if the server cannot resume.
func (r *reader) open() error {
	queued := time.Now()
	release, err := r.slot(r.ctx)
	if err != nil {
		return err
	}
	r.release = release
	r.op.Excuse(time.Since(queued))
	for {
		err := r.connect()
		switch {
		case errors.Is(err, registry.ErrRange) && !r.noRange:
			r.noRange = true
			r.s.it.tries.AddAttempt()
		case errors.Is(err, registry.ErrContent) && r.rewind == nil && !r.second:
			r.second = true
		case err != nil:
			r.releaseSlot()
			return err
		default:
			return nil
		}
	}
}

func (r *reader) connect() error {
	offset := r.at
	if r.noRange {
		offset = 0
	}
	r.src = r.s.source()
	r.w = r.op.Watch(r.ctx)
	in, start, err := r.src.Blob(r.w.Traced(), r.d, offset)
	if err != nil {
		return r.w.Stop(err)
	}
	r.r = in
	if start < r.at && r.rewind != nil {
		if err := r.restart(); err != nil {
			return r.drop(err)
		}
	}
	r.opened(start)
	if _, err := io.CopyN(io.Discard, readerFunc(r.receive), r.at-start); err != nil {
		return r.drop(fmt.Errorf("answer ended early: %w%.0w", err, io.ErrUnexpectedEOF))
	}
	r.w.Pause()
	return nil
}

// readerFunc is an io.Reader.
type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// restart discards what was read and starts at 0.
func (r *reader) restart() error {
	r.ended = false
	if r.at == 0 {
		return nil
	}
	r.at = 0
	return r.rewind()
}

// again reports whether to read the blob again from 0 after err. Content that does not match is read from the next
// location, or, if there is none, once more: a crash or the network may have damaged it.
func (r *reader) again(err error) bool {
	switch {
	case manifest.IsMismatch(err):
		r.noRange = false
		if r.src != nil && image.Elsewhere(r.src, registry.Blob, r.d.Digest) {
			return true
		}
	case !errors.Is(err, registry.ErrContent): // every location has been tried
		return false
	}
	again := !r.second
	r.second = true
	return again
}

// drop closes the connection. It returns err, or the error with which the watch ended.
func (r *reader) drop(err error) error {
	r.r.Close()
	r.r = nil
	r.releaseSlot()
	return r.w.Stop(err)
}

func (r *reader) releaseSlot() {
	if r.release != nil {
		r.release()
		r.release = nil
	}
}

// Close implements io.Closer.
func (r *reader) Close() error {
	if r.r != nil {
		_ = r.drop(nil)
	}
	r.releaseSlot() // still held after a panic in open
	return nil
}
