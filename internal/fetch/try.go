package fetch

import (
	"context"

	"osbuild-containers/internal/request"
)

// Try asks a registry for something small, as the sources do: tried again with growing waits, which
// note tells of, where that may help, each try within the stall time-out.
func Try(ctx context.Context, o request.Options, note func(format string, args ...any), ask func(context.Context) error) error {
	s := &Sender{Options: o, Note: note}
	return s.Ask(ctx, ask)
}
