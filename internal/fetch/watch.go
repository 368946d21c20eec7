package fetch

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"

	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/image/registry"
)

// leastRate is what counts as progress, in bytes a second: a byte now and then does not.
const leastRate = 1 << 10

// dialTimeout is longer than the library tries to connect to one address.
const dialTimeout = 35 * time.Second

// errStalled is a connection that made no progress in time.
type errStalled struct {
	after  time.Duration
	answer bool // no answer came
	bytes  bool // bytes came, but too few
}

func (e errStalled) Error() string {
	switch {
	case e.answer:
		return fmt.Sprintf("stalled: no answer for %s", e.after.Round(time.Millisecond))
	case e.bytes:
		return fmt.Sprintf("stalled: less than %d bytes a second for %s", leastRate, e.after.Round(time.Millisecond))
	}
	return fmt.Sprintf("stalled: no byte for %s", e.after.Round(time.Millisecond))
}

func (e errStalled) hint() hint.Hint {
	timeout := hint.Option("timeout")
	if e.answer {
		return hint.New("the registry may be fetching it from elsewhere: try again later, or raise %s and %s", hint.Option("header-timeout"), timeout)
	}
	return hint.New("check the network, or raise %s and %s; what was downloaded is kept and used next time", hint.Option("stall-timeout"), timeout)
}

// pace tells how far something is behind the least rate. It is the time up to which the bytes that have
// come suffice at that rate, but never later than now: what came fast does not count for later.
type pace struct{ at atomic.Int64 } // unix nanoseconds

// start makes it be on time.
func (p *pace) start() { p.at.Store(time.Now().UnixNano()) }

// set makes it be late by d.
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

// behind is how late it is.
func (p *pace) behind() time.Duration {
	return max(0, time.Duration(time.Now().UnixNano()-p.at.Load()))
}

// watch is a context that ends with errStalled when its connection makes no progress for the stall
// time-out, or when no answer comes for the header time-out.
type watch struct {
	context.Context
	cancel        context.CancelCauseFunc
	stall, header time.Duration

	mu      sync.Mutex // of what follows
	timer   *time.Timer
	limit   errStalled // with which it ends
	pace    pace
	last    time.Time     // when the last bytes came
	stopped time.Duration // how late it was when it was paused
}

func newWatch(ctx context.Context, stall, header time.Duration) *watch {
	w := &watch{stall: stall, header: max(stall, header)}
	w.Context, w.cancel = context.WithCancelCause(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pace.start()
	w.limit = errStalled{after: stall}
	w.timer = time.AfterFunc(stall, w.fire)
	return w
}

func (w *watch) fire() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.limit.bytes = time.Since(w.last) < w.stall/2
	w.cancel(w.limit)
}

// expect gives what comes next d, and then ends with limit.
func (w *watch) expect(d time.Duration, limit errStalled) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pace.start()
	w.limit = limit
	w.timer.Reset(d)
}

// kick notes that something has happened that is not repeated without end.
func (w *watch) kick() { w.expect(w.stall, errStalled{after: w.stall}) }

// answer waits for the first byte of an answer.
func (w *watch) answer() { w.expect(w.header, errStalled{after: w.header, answer: true}) }

// moved notes that n bytes have come.
func (w *watch) moved(n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.limit.answer { // they are not those of the answer
		return
	}
	w.pace.moved(int64(n))
	w.last = time.Now()
	w.timer.Reset(max(0, w.stall-w.pace.behind()))
}

// pause stops the clock, while the reader does something else.
func (w *watch) pause() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stopped = w.pace.behind()
	w.timer.Stop()
}

// resume lets the clock continue from where it was stopped.
func (w *watch) resume() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pace.set(w.stopped)
	w.timer.Reset(max(0, w.stall-w.stopped))
}

// stop ends the watch. It turns an error that the watch itself caused into that cause.
func (w *watch) stop(err error) error {
	w.timer.Stop()
	var stalled errStalled
	if err != nil && errors.As(context.Cause(w), &stalled) {
		var next *registry.NextError
		if errors.As(err, &next) {
			err = &registry.NextError{Err: stalled, Next: next.Next}
		} else {
			err = stalled
		}
	}
	w.cancel(nil)
	return err
}

// traced follows the requests made with its context, and the bytes of documents that arrive.
func (w *watch) traced() context.Context {
	var dialing atomic.Bool // net/http may end a dial after the request got another connection
	return httptrace.WithClientTrace(registry.OnArrival(w, w.moved), &httptrace.ClientTrace{
		GetConn: func(string) { dialing.Store(true) },
		ConnectStart: func(string, string) {
			if dialing.Load() {
				w.expect(max(dialTimeout, w.stall), errStalled{after: max(dialTimeout, w.stall)})
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
