package fetch

import (
	"cmp"
	"context"
	"errors"
	"os"
	"slices"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/panics"
	"osbuild-containers/internal/progress"
)

// fanOut is how many blobs are in progress for each parallel download: some wait for other processes or for the disk.
const fanOut = 8

// eachBlob calls do for each blob of an image, in parallel. kind names the image in the log.
func (it *item) eachBlob(ctx context.Context, kind string, m *manifest.Manifest, do func(context.Context, manifest.Descriptor, *progress.Blob) error) error {
	all := m.Blobs()
	total := m.Size()
	it.log.Start(kind+" "+progress.Short(it.ID.String()), len(m.Layers), total)
	number := make(map[digest.Digest]int, len(m.Layers))
	for i, l := range slices.Backward(m.Layers) { // a repeated layer gets the number of its first occurrence
		number[l.Digest] = i + 1
	}
	bars := make([]*progress.Blob, len(all)) // of all, so that the total is known
	for n, d := range all {
		kind := "layer"
		if d.Digest == m.Config.Digest {
			kind = "config"
		}
		bars[n] = it.log.Blob(kind, number[d.Digest], len(m.Layers), d.Digest.String(), d.Size)
	}
	g, running := errgroup.WithContext(ctx)
	for n, d := range all {
		if it.fan.Acquire(running, 1) != nil {
			break
		}
		bar := bars[n]
		g.Go(func() error {
			defer it.fan.Release(1)
			return panics.Catch(func() error { return do(running, d, bar) })
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return context.Cause(ctx)
}

// acquire acquires a blob. If open's file is that blob, acquire links it into the pool. The error is cache.ErrExists if
// the pool now has the blob.
func (it *item) acquire(ctx context.Context, pool *cache.Pool, d manifest.Descriptor, open func() (*os.File, error), bar *progress.Blob) (*cache.Writer, error) {
	if it.rehash || d.Size < 0 { // a pooled blob of unknown size is recognised by its content alone
		if err := pool.Discard(ctx, d.Digest); err != nil {
			return nil, err
		}
	}
	w, err := pool.Acquire(ctx, d.Digest, d.Size, bar.Waiting)
	if err == nil {
		var linked bool
		if linked, err = w.Link(ctx, open); err == nil && !linked {
			return w, nil
		}
		w.Close()
		err = cmp.Or(err, cache.ErrExists)
	}
	if errors.Is(err, cache.ErrExists) {
		size := d.Size
		if b, e := it.cache.PooledBlob(d.Digest); e == nil && size < 0 {
			size = b.Size
		}
		it.reused.Add(max(size, 0))
		bar.Skip("reusing")
	}
	return nil, err
}
