package retry

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"
)

// leastRate is the lowest rate that counts as progress, in bytes per second: a byte now and then does not.
const leastRate = 1 << 10

// dialTimeout is longer than containers/image takes to give up on one address.
const dialTimeout = 35 * time.Second

// StallError is returned for a try without progress. It is a net.Error.
type StallError struct {
	After  time.Duration
	Answer bool // no answer arrived
	Bytes  bool // bytes arrived, but too few
}

func (e StallError) Error() string {
	switch {
	case e.Answer:
		return fmt.Sprintf("stalled: no answer for %s", e.After.Round(time.Millisecond))
	case e.Bytes:
		return fmt.Sprintf("stalled: less than %d bytes a second for %s", leastRate, e.After.Round(time.Millisecond))
	}
	return fmt.Sprintf("stalled: no byte for %s", e.After.Round(time.Millisecond))
}

// Timeout and Temporary implement net.Error.
func (e StallError) Timeout() bool { return true }

// Temporary implements net.Error.
func (e StallError) Temporary() bool { return true }

// pace measures how far a transfer is behind the lowest rate. It holds the time until which the received bytes suffice
// at that rate, but never later than now: a fast start earns no credit.
type pace struct{ at atomic.Int64 } // unix nanoseconds

// start sets the delay to zero.
func (p *pace) start() { p.at.Store(time.Now().UnixNano()) }

// set sets the delay to d.
func (p *pace) set(d time.Duration) { p.at.Store(time.Now().Add(-d).UnixNano()) }

// moved counts n bytes.
func (p *pace) moved(n int64) {
	worth := min(n, math.MaxInt64/int64(time.Second)) * int64(time.Second) / leastRate
	for {
		at := p.at.Load()
		if p.at.CompareAndSwap(at, min(at+worth, time.Now().UnixNano())) {
			return
		}
	}
}

// behind returns the delay.
func (p *pace) behind() time.Duration {
	return max(0, time.Duration(time.Now().UnixNano()-p.at.Load()))
}

// A Watch is the context of one try. It ends with a StallError when the try makes no progress for the stall timeout, or
// gets no answer for the header timeout. Its methods are safe for concurrent use, except that Stop must come last.
type Watch struct {
	context.Context
	cancel        context.CancelCauseFunc
	stall, header time.Duration

	mu      sync.Mutex // guards the fields below
	timer   *time.Timer
	limit   StallError // error if the timer fires
	pace    pace
	last    time.Time     // when the last bytes arrived
	stopped time.Duration // delay when paused
}

// Watch starts to watch a try. Each further try may wait longer for an answer, within what is left of the group's
// timeout.
func (o *Operation) Watch(ctx context.Context) *Watch {
	p := &o.group.policy
	return newWatch(ctx, p.Stall, min(p.Header*time.Duration(1+o.failed), p.Timeout-o.idle()))
}

func newWatch(ctx context.Context, stall, header time.Duration) *Watch {
	w := &Watch{stall: stall, header: max(stall, header)}
	w.Context, w.cancel = context.WithCancelCause(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pace.start()
	w.limit = StallError{After: stall}
	w.timer = time.AfterFunc(stall, w.fire)
	return w
}

func (w *Watch) fire() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.limit.Bytes = time.Since(w.last) < w.stall/2
	w.cancel(w.limit)
}

// expect gives the next event d to occur; otherwise the watch ends with limit.
func (w *Watch) expect(d time.Duration, limit StallError) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pace.start()
	w.limit = limit
	w.timer.Reset(d)
}

// kick records an event that does not repeat without end, so it counts as progress.
func (w *Watch) kick() { w.expect(w.stall, StallError{After: w.stall}) }

// answer starts the timeout for the first byte of an answer.
func (w *Watch) answer() { w.expect(w.header, StallError{After: w.header, Answer: true}) }

// Moved records that n bytes have arrived.
func (w *Watch) Moved(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.limit.Answer { // they are not those of the answer
		return
	}
	w.pace.moved(int64(n))
	w.last = time.Now()
	w.timer.Reset(max(0, w.stall-w.pace.behind()))
}

// Pause stops the clock while the reader does something else.
func (w *Watch) Pause() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = w.pace.behind()
	w.timer.Stop()
}

// Resume starts the clock again where it was paused.
func (w *Watch) Resume() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pace.set(w.stopped)
	w.timer.Reset(max(0, w.stall-w.stopped))
}

// Stop ends the watch. It returns err, or the StallError that caused it.
func (w *Watch) Stop(err error) error {
	w.timer.Stop()
	var stalled StallError
	if err != nil && errors.As(context.Cause(w), &stalled) {
		var next *NextError
		if errors.As(err, &next) {
			err = &NextError{Err: stalled, Next: next.Next}
		} else {
			err = stalled
		}
	}
	w.cancel(nil)
	return err
}

// Traced returns a context that watches the HTTP requests made with it and the bytes reported to Progress.
func (w *Watch) Traced() context.Context {
	var dialing atomic.Bool // net/http may finish a dial after the request has another connection
	return httptrace.WithClientTrace(withProgress(w, w.Moved), &httptrace.ClientTrace{
		GetConn: func(string) { dialing.Store(true) },
		ConnectStart: func(string, string) {
			if dialing.Load() {
				w.expect(max(dialTimeout, w.stall), StallError{After: max(dialTimeout, w.stall)})
			}
		},
		ConnectDone: func(string, string, error) {
			if dialing.Load() {
				w.kick()
			}
		},
		GotConn: func(httptrace.GotConnInfo) {
			dialing.Store(false)
			w.kick()
		},
		WroteRequest:         func(httptrace.WroteRequestInfo) { w.answer() },
		GotFirstResponseByte: w.kick,
	})
}

type progressKey struct{}

// withProgress returns a context for which Progress returns moved.
func withProgress(ctx context.Context, moved func(bytes int)) context.Context {
	return context.WithValue(ctx, progressKey{}, moved)
}

// Progress returns the function to call for bytes received in the try that ctx belongs to. It is never nil.
func Progress(ctx context.Context) func(bytes int) {
	if moved, ok := ctx.Value(progressKey{}).(func(int)); ok {
		return moved
	}
	return func(int) {}
}
