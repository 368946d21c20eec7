package fetch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/image"
	"osbuild-containers/internal/image/registry"
	"osbuild-containers/internal/image/storage"
	"osbuild-containers/internal/manifest"
)

// Waits between tries: they double from the first to the longest, each with jitter.
const (
	firstWait   = time.Second
	longestWait = 30 * time.Second
)

// newBytes is how much a failed try must have brought for the count of tries to start again, in
// bytes: a server that drops every connection after a while is slow, not broken.
const newBytes = 1 << 20

// tries counts the tries of one thing to be done, and how far they got.
type tries struct {
	it     *item
	log    func(attempt int, wait time.Duration, err error)
	renew  func(context.Context) error // opens the source again, for a fresh token or another mirror; nil: each try does
	began  time.Time                   // the first try; waiting for others is not counted
	far    int64                       // bytes that the best try so far had
	mark   int64                       // far when the count last started
	failed int
	total  int
	denied bool
	waits  *backoff.ExponentialBackOff
}

func (it *item) newTries(log func(int, time.Duration, error)) *tries {
	waits := backoff.NewExponentialBackOff()
	waits.InitialInterval, waits.MaxInterval, waits.Multiplier = it.firstWait, longestWait, 2
	waits.Reset()
	return &tries{it: it, log: log, waits: waits, began: time.Now()}
}

// reached notes that a try got to offset: only bytes no try before had count as progress.
func (t *tries) reached(offset int64) {
	if offset > t.far {
		t.it.pace.moved(offset - t.far)
		t.far = offset
		t.denied = false // the token was good: one that expires later is worth a fresh one again
	}
}

// do runs op until it succeeds, fails for good, or the bounds of the request are met.
func (t *tries) do(ctx context.Context, op func(context.Context) error) error {
	for {
		err := image.TransportOf(t.it.Image.Transport).Mark(op(ctx))
		if err == nil {
			t.it.pace.start() // whatever it was, it is done
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		t.total++
		wait, final := t.judge(ctx, err)
		if final != nil {
			return final
		}
		t.it.attempts.Add(1)
		t.log(t.total, wait, err)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
		}
		t.reopen(ctx, err)
	}
}

// reopen gives up, when a second try was lost too, the connection for a new one: from a mirror
// that died to the next one. Whether that works the next try shows.
func (t *tries) reopen(ctx context.Context, err error) {
	var answer *registry.StatusError
	if class, _ := classify(err); class == image.Transient && t.failed > 1 && t.renew != nil && !errors.As(err, &answer) {
		_ = t.renew(ctx)
	}
}

// judge decides what follows a failed try: a wait, or the end with an error.
func (t *tries) judge(ctx context.Context, err error) (wait time.Duration, final error) {
	var next *registry.NextError
	if errors.As(err, &next) {
		return 0, nil
	}
	class, after := classify(err)
	if class == image.Denied && t.renew != nil && !t.denied {
		e := t.renew(ctx)
		if e == nil {
			t.denied = true
			return 0, nil
		}
		err = e // no fresh token is to be had, which a wait may mend
		class, after = classify(err)
	}
	if class != image.Transient {
		return 0, err
	}
	if t.far-t.mark >= newBytes {
		t.mark, t.failed = t.far, 0
		t.waits.Reset()
	}
	t.failed++
	opts := t.it.req.Options
	if t.failed > opts.Retries {
		return 0, gaveUp(err, t.total)
	}
	wait = max(t.waits.NextBackOff(), after)
	if idle := t.idle(); idle+wait > opts.Timeout {
		return 0, fmt.Errorf("%w (gave up: no progress for %s, and the next try would be in %s; the timeout is %s)",
			err, idle.Round(time.Second), wait.Round(time.Second), opts.Timeout)
	}
	return wait, nil
}

// classify is image.Classify that knows stalls.
func classify(err error) (image.Class, time.Duration) {
	var stalled errStalled
	if errors.As(err, &stalled) && !storage.IsStorage(err) {
		return image.Transient, 0
	}
	return image.Classify(err)
}

// idle is for how long the item has made no progress although it could.
func (t *tries) idle() time.Duration {
	return min(t.it.pace.behind(), time.Since(t.began))
}

// watch bounds one try. A registry may take longer until the first byte comes at each further try,
// though not longer than the item has left.
func (t *tries) watch(ctx context.Context) *watch {
	o := t.it.req.Options
	return newWatch(ctx, o.StallTimeout, min(o.HeaderTimeout*time.Duration(1+t.failed), o.Timeout-t.idle()))
}

func gaveUp(err error, total int) error {
	if total < 2 {
		return err
	}
	return fmt.Errorf("%w (gave up after %d tries)", err, total)
}

// hintOf returns the remedy for an error of an item that is fetched into c, none where the error says it all.
func hintOf(c *cache.Cache, err error) hint.Hint {
	damaged := manifest.IsMismatch(err)
	var stalled errStalled
	switch {
	case damaged && storage.IsStorage(err):
		return hint.New("the storage is damaged: look with podman system check, or pull the image again")
	case errors.As(err, &stalled) && !storage.IsStorage(err):
		return stalled.hint()
	case damaged:
		return hint.New("what is served is not what the manifest names: a proxy or the registry damages it, or the image was pushed badly")
	case errors.Is(err, errNotThere):
		return hint.New("run download first")
	}
	if h := cmp.Or(image.Hint(err), c.Hint(err)); h != (hint.Hint{}) {
		return h
	}
	if class, _ := classify(err); class == image.Transient {
		return hint.New("the registry or the network is in trouble: try again later, or raise %s and %s; what was downloaded is kept and used next time",
			hint.Option("retries"), hint.Option("timeout"))
	}
	return hint.Hint{}
}

// logTry is the log of tries that concern an item as a whole.
func (it *item) logTry(what string) func(int, time.Duration, error) {
	return func(attempt int, wait time.Duration, err error) {
		it.log.Note("%s: attempt %d failed, next in %s: %v", what, attempt, wait.Round(100*time.Millisecond), err)
	}
}
