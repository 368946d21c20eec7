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

// UnreadError is returned by Send if the content could not be read. put is not at fault.
type UnreadError struct{ Err error }

func (e *UnreadError) Error() string { return e.Err.Error() }
func (e *UnreadError) Unwrap() error { return e.Err }

// errUnread ends a try without content to send.
var errUnread = errors.New("cannot read the content to send")

// forever disables the stall timer while the reader is busy elsewhere.
const forever = time.Duration(math.MaxInt64)

// patience returns how long a server may take to answer after it has received size bytes, which it may verify and move
// to their final place.
func (p *Policy) patience(size int64) time.Duration {
	const portion = 64 << 20 // bytes that add another stall timeout
	return max(p.Stall, min(p.Stall*time.Duration(1+size/portion), p.Timeout/2))
}

// Send calls put with a reader of size bytes, in as many tries as needed. Each try calls open once, at the first Read.
// Errors of open and its reader, which retries by itself, are not retried: they are returned as an *UnreadError.
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

// body is the content of one try. The answer's timeout does not run while put reads it.
type body struct {
	ctx       context.Context
	op        *Operation
	stall     time.Duration
	open      func(context.Context) (io.ReadCloser, error)
	w         *Watch      // of the answer
	readTimer *time.Timer // ends the try when put stops reading

	mu   sync.Mutex // guards the fields below: a client may still read after it has an answer
	r    io.ReadCloser
	err  error // of reading the content
	over atomic.Bool
}

// errOver is returned to a reader that continues after the try.
var errOver = errors.New("this try is over")

func (o *Operation) newBody(ctx context.Context, size int64, open func(context.Context) (io.ReadCloser, error)) *body {
	p := &o.group.policy
	b := &body{op: o, stall: p.Stall, open: open, w: o.Watch(ctx)}
	b.w.header = max(b.w.header, p.patience(size))
	b.ctx = b.w
	b.readTimer = time.AfterFunc(forever, func() { b.w.cancel(StallError{After: b.stall}) })
	return b
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over.Load() {
		return 0, errOver
	}
	b.readTimer.Stop()
	b.w.Pause()
	n, err := b.read(p)
	if b.over.Load() {
		return 0, errOver
	}
	b.op.group.pace.start()
	b.w.answer() // the answer may come at any time
	if err == nil {
		b.readTimer.Reset(b.stall)
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

// stop ends the try and waits for a Read in progress.
func (b *body) stop(err error) error {
	b.over.Store(true)
	err = b.w.Stop(err)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.readTimer.Stop()
	if b.r != nil {
		b.r.Close()
	}
	return err
}
