package fetch

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/request"
)

// Sender is how what is sent to a registry is tried again: with the same waits, for the same reasons and
// within the same bounds as what is fetched.
type Sender struct {
	Options request.Options
	Note    func(format string, args ...any)
	Renew   func(context.Context) error // connects again, for a fresh token; nil: each try does
}

func (s *Sender) tries() *tries {
	it := &item{job: &job{req: &request.Request{Options: s.Options}, firstWait: firstWait}}
	it.pace.start()
	t := it.newTries(func(attempt int, wait time.Duration, err error) {
		s.Note("attempt %d failed, next in %s: %v", attempt, wait.Round(100*time.Millisecond), err)
	})
	if s.Renew != nil {
		t.renew = func(ctx context.Context) error { return t.watched(ctx, s.Renew) }
	}
	return t
}

// Ask asks for something small.
func (s *Sender) Ask(ctx context.Context, ask func(context.Context) error) error {
	t := s.tries()
	return t.do(ctx, func(ctx context.Context) error { return t.watched(ctx, ask) })
}

// watched ends what is asked when nothing comes for the stall time-out.
func (t *tries) watched(ctx context.Context, ask func(context.Context) error) error {
	w := t.watch(ctx)
	return w.stop(ask(w.traced()))
}

// errUnread ends a try that failed since there was nothing to send.
var errUnread = errors.New("what is to be sent cannot be read")

// patience is how long a registry may take to answer when it has got a blob of that size: it may have to
// verify it and to move it to where it stays.
func (s *Sender) patience(size int64) time.Duration {
	const portion = 64 << 20 // bytes that are worth another stall time-out
	stall := s.Options.StallTimeout
	return max(stall, min(stall*time.Duration(1+size/portion), s.Options.Timeout/2))
}

// Send has put send size bytes of what open opens, which it does when the first byte is wanted, for each try again.
// That it cannot be read is not put's fault: it is not tried again, since the reader has done so, but for a blob that
// was wrong, see readAgain.
func (s *Sender) Send(ctx context.Context, size int64, open func(context.Context) (io.ReadCloser, error), put func(context.Context, io.Reader) error) error {
	t := s.tries()
	for damaged := false; ; {
		var unread error
		err := t.do(ctx, func(ctx context.Context) error {
			r := newSent(ctx, s.patience(size), open, t)
			err := r.stop(put(r.w.traced(), r))
			if unread = r.err; err != nil && unread != nil {
				return errUnread
			}
			return err
		})
		if !errors.Is(err, errUnread) {
			return err
		}
		var elsewhere *elsewhereError
		if !manifest.IsMismatch(unread) || !readAgain(errors.As(unread, &elsewhere), &damaged) {
			return unread
		}
		s.Note("%v; sending it again from the beginning", unread)
	}
}

// sent is what is being sent. While it is read nobody waits for the registry that it is sent to.
type sent struct {
	ctx    context.Context
	stall  time.Duration
	opened func(context.Context) (io.ReadCloser, error)
	tries  *tries
	w      *watch      // for the answers
	body   *time.Timer // for the next bytes to be wanted

	mu   sync.Mutex // of what follows: a client may read for a while after it has got an answer
	r    io.ReadCloser
	err  error // why it cannot be read
	over atomic.Bool
}

// errOver is for whoever reads on.
var errOver = errors.New("this try is over")

func newSent(ctx context.Context, patience time.Duration, open func(context.Context) (io.ReadCloser, error), t *tries) *sent {
	s := &sent{stall: t.it.req.Options.StallTimeout, opened: open, tries: t}
	s.w = t.watch(ctx)
	s.w.header = max(s.w.header, patience)
	s.ctx = s.w
	s.body = time.AfterFunc(forever, func() { s.w.cancel(errStalled{after: s.stall}) })
	return s
}

// Read implements io.Reader.
func (s *sent) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over.Load() {
		return 0, errOver
	}
	s.body.Stop()
	s.w.pause()
	n, err := s.read(p)
	if s.over.Load() {
		return 0, errOver
	}
	s.tries.it.pace.start()
	s.w.answer() // it may come at any time
	if err == nil {
		s.body.Reset(s.stall)
	} else if err != io.EOF {
		s.err = err
	}
	return n, err
}

func (s *sent) read(p []byte) (int, error) {
	if s.r == nil {
		r, err := s.opened(s.ctx)
		if err != nil {
			return 0, err
		}
		s.r = r
	}
	return s.r.Read(p)
}

// stop ends the try, and waits for a read that is under way.
func (s *sent) stop(err error) error {
	s.over.Store(true)
	err = s.w.stop(err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.body.Stop()
	if s.r != nil {
		s.r.Close()
	}
	return err
}
