// Package retry repeats operations that may succeed at another try: with growing waits, within bounds, and only after
// errors that a predicate accepts. It knows nothing of what it repeats.
//
// A Policy says what is retried and for how long. A Group is shared by operations with a common purpose: progress of one
// resets the timeout of all. An Operation is one thing to do, in several tries. A Watch ends a single try that makes no
// progress.
package retry

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Class says whether another try may succeed after an error.
type Class int

// Classes of errors.
const (
	Final     Class = iota // no: the answer would be the same
	Transient              // yes: the network or server may recover
	Denied                 // 401 and 403: once, with fresh credentials
)

// NextError is returned by a try to be repeated at once, at another location, or at the same one without the part of
// the request that failed.
type NextError struct {
	Err  error
	Next string // where
}

func (e *NextError) Error() string { return e.Err.Error() + "; asking " + e.Next }
func (e *NextError) Unwrap() error { return e.Err }

// Policy says which errors are retried, and bounds the tries.
type Policy struct {
	Retries   int           // tries after the first failed one; progress restarts the count
	Timeout   time.Duration // give up after this long without progress, waits included
	Stall     time.Duration // end a try after this long without progress
	Header    time.Duration // end a try whose answer does not begin for this long; later tries wait longer
	FirstWait time.Duration // before the second try; 0 means one second; doubles up to 30 s, with jitter

	// Classify sorts errors. after is the minimum wait.
	Classify func(err error) (class Class, after time.Duration)
	// Reconnect reports whether a new connection may help against a repeated transient error. Nil means never.
	Reconnect func(err error) bool
	// Mark is applied first to each error of a try, if not nil.
	Mark func(err error) error
}

const (
	firstWait   = time.Second
	longestWait = 30 * time.Second
)

// newBytes is how many new bytes a failed try must bring to restart the count of tries: a server that drops each
// connection after a while is slow, not broken.
const newBytes = 1 << 20

// A Group is shared by operations with a common purpose. It is safe for concurrent use.
type Group struct {
	policy   Policy
	pace     pace
	attempts atomic.Int32
}

// NewGroup returns a group whose timeout starts now.
func NewGroup(p Policy) *Group {
	g := &Group{policy: p}
	if g.policy.FirstWait == 0 {
		g.policy.FirstWait = firstWait
	}
	g.attempts.Store(1)
	g.pace.start()
	return g
}

// Attempts returns 1 plus the number of repeated tries.
func (g *Group) Attempts() int { return int(g.attempts.Load()) }

// AddAttempt counts a repeated try made without an Operation.
func (g *Group) AddAttempt() { g.attempts.Add(1) }

// A Failure is a failed try that is repeated.
type Failure struct {
	Attempt int           // from 1
	Of      int           // total tries if none makes progress
	Wait    time.Duration // before the next try
	Err     error
}

func (f Failure) String() string {
	return fmt.Sprintf("attempt %d of %d failed, next in %s: %v", f.Attempt, f.Of, f.Wait.Round(100*time.Millisecond), f.Err)
}

// Operation is one thing to do, in as many tries as needed. It is for one goroutine.
type Operation struct {
	// Renew reopens what a try uses, with fresh credentials or at another place. Nil means that each try opens it.
	Renew func(context.Context) error

	group  *Group
	note   func(Failure)
	began  time.Time // start of the first try, moved forward by waits for others
	far    int64     // most bytes that a try has reached
	mark   int64     // far when the count last restarted
	failed int       // failed tries since then
	total  int       // failed tries in total
	denied bool      // credentials have been renewed
	waits  *backoff.ExponentialBackOff
}

// New returns an operation. note is called for each failed try that is repeated, before the wait.
func (g *Group) New(note func(Failure)) *Operation {
	waits := backoff.NewExponentialBackOff()
	waits.InitialInterval, waits.MaxInterval, waits.Multiplier = g.policy.FirstWait, longestWait, 2
	waits.Reset()
	return &Operation{group: g, note: note, waits: waits, began: time.Now()}
}

// Failed returns how many tries have failed.
func (o *Operation) Failed() int { return o.total }

// StartAt sets the offset from which bytes count as progress.
func (o *Operation) StartAt(offset int64) { o.far, o.mark = offset, offset }

// Reached records that a try got to offset, in bytes. Only bytes that no earlier try reached are progress.
func (o *Operation) Reached(offset int64) {
	if offset > o.far {
		o.group.pace.moved(offset - o.far)
		o.far = offset
		o.denied = false // the credentials worked: once they expire, renew them again
	}
}

// Restart restarts the timeout of the operation: the time until now was the caller's.
func (o *Operation) Restart() { o.began = time.Now() }

// Excuse excludes d, time spent waiting for others, from the time without progress.
func (o *Operation) Excuse(d time.Duration) { o.began = o.began.Add(d) }

// Do runs try until it succeeds, fails for good, or reaches a bound of the policy. Success is progress.
func (o *Operation) Do(ctx context.Context, try func(context.Context) error) error {
	err := o.Repeat(ctx, try)
	if err == nil {
		o.Done()
	}
	return err
}

// Done records that the operation is done, which is progress.
func (o *Operation) Done() { o.group.pace.start() }

// Repeat is Do for a part of the operation: only Reached records progress.
func (o *Operation) Repeat(ctx context.Context, try func(context.Context) error) error {
	for {
		err := try(ctx)
		if err == nil {
			return nil
		}
		if o.group.policy.Mark != nil {
			err = o.group.policy.Mark(err)
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		o.total++
		wait, final := o.judge(ctx, err)
		if final != nil {
			return final
		}
		o.group.AddAttempt()
		o.note(Failure{o.total, o.total + 1 + o.group.policy.Retries - o.failed, wait, err})
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
		}
		o.reconnect(ctx, err)
	}
}

// Ask is Do for a small answer: a try ends when it makes no progress.
func (o *Operation) Ask(ctx context.Context, ask func(context.Context) error) error {
	return o.Do(ctx, func(ctx context.Context) error { return o.Once(ctx, ask) })
}

// Once is a single try of Ask.
func (o *Operation) Once(ctx context.Context, ask func(context.Context) error) error {
	w := o.Watch(ctx)
	return w.Stop(ask(w.Traced()))
}

// reconnect renews the connection after it was lost twice, since a server behind a load balancer may be down. It
// ignores errors: the next try shows whether it helped.
func (o *Operation) reconnect(ctx context.Context, err error) {
	p := &o.group.policy
	if class, _ := p.Classify(err); class == Transient && o.failed > 1 && o.Renew != nil && p.Reconnect != nil && p.Reconnect(err) {
		_ = o.Renew(ctx)
	}
}

// judge returns the wait after a failed try, or the final error.
func (o *Operation) judge(ctx context.Context, err error) (wait time.Duration, final error) {
	var next *NextError
	if errors.As(err, &next) {
		return 0, nil
	}
	p := &o.group.policy
	class, after := p.Classify(err)
	if class == Denied && o.Renew != nil && !o.denied {
		e := o.Renew(ctx)
		if e == nil {
			o.denied = true
			return 0, nil
		}
		err = e // credentials could not be renewed, which may be transient
		class, after = p.Classify(err)
	}
	if class != Transient {
		return 0, err
	}
	if o.far-o.mark >= newBytes {
		o.mark, o.failed = o.far, 0
		o.waits.Reset()
	}
	o.failed++
	if o.failed > p.Retries {
		return 0, gaveUp(err, o.total)
	}
	wait = max(o.waits.NextBackOff(), after)
	if idle := o.idle(); idle+wait > p.Timeout {
		return 0, fmt.Errorf("%w (gave up: no progress for %s, and the next try would be in %s; the timeout is %s)",
			err, idle.Round(time.Second), wait.Round(time.Second), p.Timeout)
	}
	return wait, nil
}

// idle returns how long the group has made no progress although this operation could have.
func (o *Operation) idle() time.Duration { return min(o.group.pace.behind(), time.Since(o.began)) }

func gaveUp(err error, total int) error {
	if total < 2 {
		return err
	}
	return fmt.Errorf("%w (gave up after %d tries)", err, total)
}
