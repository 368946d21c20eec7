package fetch

import (
	"context"
	"errors"
	"sync"

	"osbuild-containers/internal/image"
	"osbuild-containers/internal/retry"
)

// session is the open source of an item. It can be opened again, with a fresh token, while blobs are still being read
// from the previous source.
type session struct {
	it *item

	mu   sync.Mutex
	open []image.Source // the last one is in use
}

// newSession opens the item's source, with retries.
func (it *item) newSession(ctx context.Context) (*session, error) {
	s := &session{it: it}
	op := it.tries.New(it.logTry("open")) // no Renew: each try requests its own token
	err := op.Do(ctx, func(ctx context.Context) error { return s.renew(ctx, op, nil) })
	if err != nil {
		return nil, err
	}
	return s, nil
}

// source returns the source in use.
func (s *session) source() image.Source {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.open[len(s.open)-1]
}

// renew opens the source again, unless another blob has done so since old was in use.
func (s *session) renew(ctx context.Context, op *retry.Operation, old image.Source) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old != nil && s.open[len(s.open)-1] != old {
		return nil
	}
	return op.Once(ctx, func(ctx context.Context) error {
		src, err := image.Open(ctx, s.it.target)
		if err == nil {
			s.open = append(s.open, src)
		}
		return err
	})
}

func (s *session) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, src := range s.open {
		errs = append(errs, src.Close())
	}
	return errors.Join(errs...)
}

// call makes a small request to the source, within the stall timeout and with retries. what names it in the log.
func (s *session) call(ctx context.Context, what string, ask func(context.Context, image.Source) error) error {
	op := s.it.tries.New(s.it.logTry(what))
	var src image.Source
	op.Renew = func(ctx context.Context) error { return s.renew(ctx, op, src) }
	return op.Ask(ctx, func(ctx context.Context) error {
		src = s.source()
		return ask(ctx, src)
	})
}
