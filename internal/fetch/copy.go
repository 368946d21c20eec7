package fetch

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/request"
)

// CopyImages copies published images into the cache r.DstCache, verifying every byte on the way.
func CopyImages(ctx context.Context, r *request.Request, log *progress.Reporter) []request.Result {
	from, j := newCopy(r, log)
	defer j.close()
	return j.run(ctx, j.usesImage, func(ctx context.Context, it *item) error { return it.copyImage(ctx, from) })
}

// CopyLists copies published manifest lists into the cache r.DstCache.
func CopyLists(ctx context.Context, r *request.Request, log *progress.Reporter) []request.Result {
	from, j := newCopy(r, log)
	return j.run(ctx, j.usesList, func(ctx context.Context, it *item) error {
		from.cache.UseFile(ctx, it.ID)
		raw, ok, err := from.list(ctx, it.Item)
		if err != nil {
			return err
		}
		if !ok {
			return notThere(from.cache.FilePath(it.ID))
		}
		it.reused.Add(int64(len(raw)))
		return it.cache.PublishFile(ctx, it.ID, raw)
	})
}

// newCopy returns a job for the source cache r.Cache, and the job that fills r.DstCache.
func newCopy(r *request.Request, log *progress.Reporter) (from, j *job) {
	to := *r
	to.Cache = r.DstCache
	return newJob(r, log), newJob(&to, log)
}

// errNotThere is returned when the source cache does not have what is to be copied.
var errNotThere = errors.New("is missing or damaged")

func notThere(path string) error { return fmt.Errorf("%s %w", path, errNotThere) }

// copyImage copies one image from the cache of another job.
func (it *item) copyImage(ctx context.Context, from *job) error {
	if err := from.cache.Check(it.ID); err != nil {
		return err
	}
	pub, err := from.complete(ctx, it.Item)
	if err != nil {
		return err
	}
	if pub == nil {
		return notThere(from.cache.ImagePath(it.ID))
	}
	defer pub.Close()
	pub.Use()
	release, err := pub.RLock()
	if err != nil {
		return err
	}
	defer release()
	img, m, err := readImage(pub, it.ID)
	if err != nil {
		return err
	}
	pool, err := it.openPool(ctx)
	if err != nil {
		return err
	}
	if err := it.eachBlob(ctx, "copy of image", m, func(ctx context.Context, d manifest.Descriptor, bar *progress.Blob) error {
		w, err := it.acquire(ctx, pool, d, func() (*os.File, error) { return pub.OpenBlob(d.Digest) }, bar)
		if errors.Is(err, cache.ErrExists) {
			return nil
		}
		if err != nil {
			return err
		}
		w.Close()
		return notThere(pub.BlobPath(d.Digest))
	}); err != nil {
		return err
	}
	return it.cache.Publish(ctx, pool, it.ID, img)
}

// readImage reads a published image except for its blobs, which must exist.
func readImage(pub *cache.Published, id digest.Digest) (img *cache.Image, m *manifest.Manifest, err error) {
	img = &cache.Image{}
	if img.Manifest, err = pub.Manifest(); err != nil {
		return nil, nil, err
	}
	if img.List, err = pub.List(); err != nil {
		return nil, nil, err
	}
	if img.Signatures, err = pub.Signatures(); err != nil {
		return nil, nil, err
	}
	if img.Schema1, err = pub.Schema1(); err != nil {
		return nil, nil, err
	}
	img.Origins, _ = pub.Origins() // informational only, so errors are ignored
	if m, err = manifest.Parse(img.Manifest); err != nil {
		return nil, nil, err
	}
	img.Blobs = m.Blobs()
	if m.List || m.Config.Digest != id || !pub.Has(img.Blobs) {
		return nil, nil, notThere(pub.Path())
	}
	return img, m, nil
}
