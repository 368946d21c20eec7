package fetch

import (
	"context"
	"fmt"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/image"
	"osbuild-containers/internal/image/storage"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/request"
)

// Stored checks which images are in the host's containers storage. It fetches and copies nothing: the stages read from
// that store.
func Stored(_ context.Context, r *request.Request, log *progress.Reporter) []request.Result {
	image.RouteLogs(log.Note)
	results := make([]request.Result, len(r.Items))
	store, err := storage.OpenStore("")
	if err == nil {
		defer store.Close()
	}
	for i, it := range r.Items {
		e := err
		if e == nil {
			e = store.Has(it.ID)
		}
		if e == nil {
			results[i] = done(it)
			continue
		}
		e = storage.Mark(e)
		e = hint.With(fmt.Errorf("image %s: %w", it.ID, e), hintOf(cache.Open(r.Cache), e))
		results[i] = failure(e, request.Metadata{Checksum: it.ID.String()}, r)
	}
	return results
}

// StoredCopy does nothing: the store that Stored checks belongs to the host.
func StoredCopy(_ context.Context, r *request.Request, _ *progress.Reporter) []request.Result {
	results := make([]request.Result, len(r.Items))
	for i, it := range r.Items {
		results[i] = done(it)
	}
	return results
}
