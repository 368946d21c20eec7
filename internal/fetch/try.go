package fetch

import (
	"context"
	"time"

	"osbuild-containers/internal/request"
)

// Try asks a registry for something small, as the sources do: tried again with growing waits, which
// note tells of, where that may help, each try within the stall time-out.
func Try(ctx context.Context, o request.Options, note func(format string, args ...any), ask func(context.Context) error) error {
	it := &item{job: &job{req: &request.Request{Options: o}, firstWait: firstWait}}
	it.lastBytes.Store(time.Now().UnixNano())
	t := it.newTries(func(attempt int, wait time.Duration, err error) {
		note("attempt %d failed, next in %s: %v", attempt, wait.Round(100*time.Millisecond), err)
	})
	return t.do(ctx, func(ctx context.Context) error {
		w := newWatch(ctx, o.StallTimeout)
		return w.stop(ask(w.traced()))
	})
}
