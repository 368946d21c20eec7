package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

var (
	// ErrInterrupted is the cause of a context cancelled by a signal.
	ErrInterrupted = errors.New("interrupted")

	// ErrSecondSignal is returned by [Run] after a second signal: the process must exit at once.
	ErrSecondSignal = errors.New("interrupted twice")
)

// Run calls work in a goroutine and waits for it. The first signal cancels the context of work with
// [ErrInterrupted]; Run then waits for at most patience, or without limit if patience is 0.
//
// Run returns the result of work and the last signal, or nil if there was none. If Run stops waiting early, the
// result is the zero value and err is [ErrSecondSignal] or says that patience ran out.
func Run[T any](ctx context.Context, signals <-chan os.Signal, patience time.Duration, work func(context.Context) T) (result T, sig os.Signal, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	done := make(chan T, 1)
	go func() { done <- work(ctx) }()
	select {
	case result = <-done:
		return result, nil, nil
	case sig = <-signals:
	}
	cancel(ErrInterrupted)
	var over <-chan time.Time
	if patience > 0 {
		over = time.After(patience)
	}
	select {
	case result = <-done:
		return result, sig, nil
	case <-over:
		return result, sig, fmt.Errorf("%w, and the work did not end within %s", ErrInterrupted, patience)
	case sig = <-signals:
		return result, sig, ErrSecondSignal
	}
}

// Signalled returns the exit status of a process ended by sig.
func Signalled(sig os.Signal) int {
	if n, ok := sig.(syscall.Signal); ok {
		return 128 + int(n)
	}
	return Failed
}
