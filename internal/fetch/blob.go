package fetch

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sync/semaphore"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/image"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/retry"
)

// blob adds one blob to the pool, unless the pool or an image in the cache has it, or another process downloads it
// in the meantime.
func (s *session) blob(ctx context.Context, pool *cache.Pool, d manifest.Descriptor, bar *progress.Blob) error {
	it := s.it
	w, err := it.acquire(ctx, pool, d, func() (*os.File, error) { return it.cache.OpenImageBlob(it.ID, d.Digest) }, bar)
	if errors.Is(err, cache.ErrExists) {
		return nil
	}
	if err != nil {
		return err
	}
	defer w.Close()
	if err := s.download(ctx, w, d, bar); err != nil {
		return fmt.Errorf("blob %s: %w", d.Digest, image.TransportOf(it.Image.Transport).Mark(err))
	}
	if err := w.Commit(); err != nil {
		return fmt.Errorf("blob %s: %w", d.Digest, err)
	}
	bar.Done()
	return nil
}

// download downloads the missing part of a blob and verifies all of it.
func (s *session) download(ctx context.Context, w *cache.Writer, d manifest.Descriptor, bar *progress.Blob) error {
	it := s.it
	resumed, err := w.Resume(ctx)
	if err != nil {
		return err
	}
	it.reused.Add(resumed)
	if d.Size < 0 && w.Complete() { // an earlier process read it all but did not commit it
		return nil
	}
	r := s.newReader(ctx, d, resumed, func(f retry.Failure) { bar.Retry(f.Attempt, f.Of, f.Wait, f.Err) })
	defer r.Close()
	r.slot = it.slot
	r.rewind = func() error {
		it.reused.Add(-resumed)
		resumed = 0
		bar.Reset(0)
		return w.Reset()
	}
	first := true
	r.opened = func(start int64) {
		if start > 0 {
			bar.Resuming(start)
		} else if first {
			bar.Begin("downloading")
		}
		first = false
	}
	r.arrived = func(n int) {
		bar.Add(int64(n))
		it.bytes.Add(int64(n))
	}
	for {
		_, err := w.ReadFrom(r)
		if err == nil {
			err = w.Verify()
		}
		if err == nil || !r.again(err) {
			return err
		}
		if err := r.restart(); err != nil {
			return err
		}
		r.op.StartAt(0) // the bytes were discarded, so reading them again is progress
		it.tries.AddAttempt()
		bar.Retry(r.op.Failed()+1, 0, 0, fmt.Errorf("%w; starting again from the beginning", err))
	}
}

// slot waits for a free connection. A blob that waits for another try, or for the disk, releases its slot to others.
func (it *item) slot(ctx context.Context) (release func(), err error) {
	queues := []*semaphore.Weighted{it.slots}
	if image.TransportOf(it.Image.Transport).Unpacked {
		queues = []*semaphore.Weighted{it.stores, it.slots}
	}
	for n, queue := range queues {
		if queue.Acquire(ctx, 1) != nil {
			releaseAll(queues[:n])
			return nil, context.Cause(ctx)
		}
	}
	return func() { releaseAll(queues) }, nil
}

func releaseAll(queues []*semaphore.Weighted) {
	for _, queue := range queues {
		queue.Release(1)
	}
}
