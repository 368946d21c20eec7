// Package retry repeats what may succeed at another try: with growing waits, within bounds, and only after errors that
// a predicate finds worth it. It knows nothing of what is tried.
//
// A Policy says what is tried again and for how long. A Group is what several operations share that serve one
// purpose: while one of them makes progress, the time of none runs out. An Operation is one thing to do, and a Watch
// ends a single try that makes no progress.
package retry

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// Class tells what another try can do about an error.
type Class int

// Classes of errors.
const (
	Final     Class = iota // nothing: the same answer would come again
	Transient              // the network or the server may be better soon
	Denied                 // 401 and 403: fresh credentials may help, once
)

// NextError is an error after which the next try is made at once, since it goes elsewhere, or to the same place for what
// that did not send.
type NextError struct {
	Err  error
	Next string // where
}

func (e *NextError) Error() string { return e.Err.Error() + "; asking " + e.Next }
func (e *NextError) Unwrap() error { return e.Err }

// Policy says which errors are worth another try, and bounds the tries.
type Policy struct {
	Retries   int           // further tries after one that failed without progress
	Timeout   time.Duration // gives up after so long without progress, waits included
	Stall     time.Duration // ends a try that makes no progress for so long
	Header    time.Duration // ends a try whose answer does not begin for so long; each further try waits longer
	FirstWait time.Duration // before the second try, 0 for a second; waits double up to 30 s, with jitter

	// Classify sorts errors. after is how long to wait at least.
	Classify func(err error) (class Class, after time.Duration)
	// Reconnect reports whether a new connection may help against a transient error that came again. Nil: never.
	Reconnect func(err error) bool
	// Mark is applied to each error of a try first. Nil: nothing is.
	Mark func(err error) error
}

const (
	firstWait   = time.Second
	longestWait = 30 * time.Second
)

// newBytes is how much a failed try must have brought for the count of tries to start again, in bytes: a server that
// drops every connection after a while is slow, not broken.
const newBytes = 1 << 20

// A Group is what operations share that serve one purpose. It is safe for concurrent use.
type Group struct {
	policy   Policy
	pace     pace
	attempts atomic.Int32
}

// NewGroup returns a group whose time starts now.
func NewGroup(p Policy) *Group {
	g := &Group{policy: p}
	if g.policy.FirstWait == 0 {
		g.policy.FirstWait = firstWait
	}
	g.attempts.Store(1)
	g.pace.start()
	return g
}

// Attempts returns the number of tries: 1, and 1 for each that was repeated.
func (g *Group) Attempts() int { return int(g.attempts.Load()) }

// AddAttempt counts a try that was repeated without an Operation.
func (g *Group) AddAttempt() { g.attempts.Add(1) }

// A Failure is a try that failed and is repeated.
type Failure struct {
	Attempt int           // from 1
	Of      int           // how many tries there will be if no further one makes progress
	Wait    time.Duration // before the next try
	Err     error
}

func (f Failure) String() string {
	return fmt.Sprintf("attempt %d of %d failed, next in %s: %v", f.Attempt, f.Of, f.Wait.Round(100*time.Millisecond), f.Err)
}

// Operation is one thing to do, in as many tries as it takes. It is for one goroutine.
type Operation struct {
	// Renew opens again what is asked, with fresh credentials or at another place. Nil: each try does.
	Renew func(context.Context) error

	group  *Group
	note   func(Failure)
	began  time.Time // the first try; waiting for others is not counted
	far    int64     // bytes that the best try so far had
	mark   int64     // far when the count last started
	failed int       // tries, since then
	total  int       // tries that failed
	denied bool      // credentials are fresh
	waits  *backoff.ExponentialBackOff
}

// New returns an operation. note is called for each try that failed and is repeated, before the wait.
func (g *Group) New(note func(Failure)) *Operation {
	waits := backoff.NewExponentialBackOff()
	waits.InitialInterval, waits.MaxInterval, waits.Multiplier = g.policy.FirstWait, longestWait, 2
	waits.Reset()
	return &Operation{group: g, note: note, waits: waits, began: time.Now()}
}

// Failed returns how many tries have failed.
func (o *Operation) Failed() int { return o.total }

// StartAt makes only bytes from offset on count as progress: those before it are there, or were lost.
func (o *Operation) StartAt(offset int64) { o.far, o.mark = offset, offset }

// Reached notes that a try got to offset (bytes). Only what no try had before is progress.
func (o *Operation) Reached(offset int64) {
	if offset > o.far {
		o.group.pace.moved(offset - o.far)
		o.far = offset
		o.denied = false // the credentials were good: when they expire, fresh ones are worth it again
	}
}

// Restart lets the time of the operation begin now: what passed before was the caller's.
func (o *Operation) Restart() { o.began = time.Now() }

// Excuse does not count d, time that was spent waiting for others, as time without progress.
func (o *Operation) Excuse(d time.Duration) { o.began = o.began.Add(d) }

// Do runs try until it succeeds, fails for good, or meets a bound of the policy.
func (o *Operation) Do(ctx context.Context, try func(context.Context) error) error {
	err := o.Repeat(ctx, try)
	if err == nil {
		o.Done()
	}
	return err
}

// Done notes that the operation is done, which is progress.
func (o *Operation) Done() { o.group.pace.start() }

// Repeat is Do for a part of the operation: only what Reached is told of is progress.
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

// Ask is Do for a small answer: each try ends when it makes no progress.
func (o *Operation) Ask(ctx context.Context, ask func(context.Context) error) error {
	return o.Do(ctx, func(ctx context.Context) error { return o.Once(ctx, ask) })
}

// Once makes a single try, which ends when it makes no progress.
func (o *Operation) Once(ctx context.Context, ask func(context.Context) error) error {
	w := o.Watch(ctx)
	return w.Stop(ask(w.Traced()))
}

// reconnect replaces a connection that was lost twice: the place that died may have been one of several. Whether it
// works, the next try shows.
func (o *Operation) reconnect(ctx context.Context, err error) {
	p := &o.group.policy
	if class, _ := p.Classify(err); class == Transient && o.failed > 1 && o.Renew != nil && p.Reconnect != nil && p.Reconnect(err) {
		_ = o.Renew(ctx)
	}
}

// judge decides what follows a failed try: a wait, or the end with an error.
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
		err = e // there are no fresh credentials, which a wait may change
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

// idle returns for how long the group has made no progress although this operation could have.
func (o *Operation) idle() time.Duration { return min(o.group.pace.behind(), time.Since(o.began)) }

func gaveUp(err error, total int) error {
	if total < 2 {
		return err
	}
	return fmt.Errorf("%w (gave up after %d tries)", err, total)
}
