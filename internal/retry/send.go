package retry

import (
	"context"
	"errors"
	"io"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// UnreadError is the error of a Send whose content could not be read. put is not to blame.
type UnreadError struct{ Err error }

func (e *UnreadError) Error() string { return e.Err.Error() }
func (e *UnreadError) Unwrap() error { return e.Err }

// errUnread ends a try that failed since there was nothing to send.
var errUnread = errors.New("cannot read what is to be sent")

// forever is for how long a reader may do something else.
const forever = time.Duration(math.MaxInt64)

// patience returns how long a server may take to answer when it has got size bytes: it may have to verify them and to move
// them to where they stay.
func (p *Policy) patience(size int64) time.Duration {
	const portion = 64 << 20 // bytes that are worth another stall time-out
	return max(p.Stall, min(p.Stall*time.Duration(1+size/portion), p.Timeout/2))
}

// Send calls put with a reader of size bytes, in as many tries as it takes. Each calls open once, when the first byte
// is wanted. An error of open or of its reader, which retries by itself, is not tried again: it is returned as an
// *UnreadError.
func (o *Operation) Send(ctx context.Context, size int64, open func(context.Context) (io.ReadCloser, error), put func(context.Context, io.Reader) error) error {
	var unread error
	err := o.Do(ctx, func(ctx context.Context) error {
		b := o.newBody(ctx, size, open)
		err := b.stop(put(b.w.Traced(), b))
		if unread = b.err; err != nil && unread != nil {
			return errUnread
		}
		return err
	})
	if errors.Is(err, errUnread) {
		return &UnreadError{unread}
	}
	return err
}

// body is the content that one try sends. While it is read, no answer of the server is waited for.
type body struct {
	ctx   context.Context
	op    *Operation
	stall time.Duration
	open  func(context.Context) (io.ReadCloser, error)
	w     *Watch      // for the answers
	wants *time.Timer // ends the try when no more bytes are read

	mu   sync.Mutex // guards what follows: a client may read for a while after it has got an answer
	r    io.ReadCloser
	err  error // why it cannot be read
	over atomic.Bool
}

// errOver is for a reader that continues after the try.
var errOver = errors.New("this try is over")

func (o *Operation) newBody(ctx context.Context, size int64, open func(context.Context) (io.ReadCloser, error)) *body {
	p := &o.group.policy
	b := &body{op: o, stall: p.Stall, open: open, w: o.Watch(ctx)}
	b.w.header = max(b.w.header, p.patience(size))
	b.ctx = b.w
	b.wants = time.AfterFunc(forever, func() { b.w.cancel(StallError{After: b.stall}) })
	return b
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over.Load() {
		return 0, errOver
	}
	b.wants.Stop()
	b.w.Pause()
	n, err := b.read(p)
	if b.over.Load() {
		return 0, errOver
	}
	b.op.group.pace.start()
	b.w.answer() // it may come at any time
	if err == nil {
		b.wants.Reset(b.stall)
	} else if err != io.EOF {
		b.err = err
	}
	return n, err
}

func (b *body) read(p []byte) (int, error) {
	if b.r == nil {
		r, err := b.open(b.ctx)
		if err != nil {
			return 0, err
		}
		b.r = r
	}
	return b.r.Read(p)
}

// stop ends the try, and waits for a read that is under way.
func (b *body) stop(err error) error {
	b.over.Store(true)
	err = b.w.Stop(err)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wants.Stop()
	if b.r != nil {
		b.r.Close()
	}
	return err
}
