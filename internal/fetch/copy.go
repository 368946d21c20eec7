package fetch

import (
	"context"
	"fmt"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/request"
)

// CopyImages copies published images into the cache r.DstCache, verifying every byte on the way.
func CopyImages(ctx context.Context, r *request.Request, log *progress.Reporter) []request.Result {
	j := newJob(r, log)
	dst := newJob(&request.Request{Cache: r.DstCache, Options: r.Options}, log)
	defer dst.close()
	return j.copyAll(ctx, func(ctx context.Context, it request.Item) error { return dst.copyImage(ctx, j, it) })
}

// CopyLists copies published manifest lists into the cache r.DstCache.
func CopyLists(ctx context.Context, r *request.Request, log *progress.Reporter) []request.Result {
	j := newJob(r, log)
	dst := cache.Open(r.DstCache)
	return j.copyAll(ctx, func(ctx context.Context, it request.Item) error {
		if _, there := dst.File(it.ID); there {
			return nil
		}
		raw, ok := j.cache.File(it.ID)
		if !ok {
			return notThere(j.cache.FilePath(it.ID))
		}
		return dst.PublishFile(ctx, it.ID, raw)
	})
}

func notThere(path string) error {
	return fmt.Errorf("%s is missing or damaged; run download first", path)
}

func (j *job) copyAll(ctx context.Context, copyOne func(context.Context, request.Item) error) []request.Result {
	results := make([]request.Result, len(j.req.Items))
	var g errgroup.Group
	g.SetLimit(j.req.Options.MaxParallel)
	for n, it := range j.req.Items {
		g.Go(func() error {
			err := copyOne(ctx, it)
			if err != nil && ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			results[n] = request.Result{Success: err == nil, Metadata: request.Metadata{Checksum: it.ID.String()}}
			if err != nil {
				results[n].Error = withHint("copy "+it.ID.String()+": "+err.Error(), err)
			}
			return nil
		})
	}
	_ = g.Wait()
	return results
}

// copyImage copies one image from the cache of src into the job's own.
func (j *job) copyImage(ctx context.Context, src *job, it request.Item) error {
	if j.hasImage(it) {
		return nil
	}
	if !src.hasImage(it) {
		return notThere(src.cache.ImagePath(it.ID))
	}
	pub, err := src.cache.Look(it.ID)
	if err != nil {
		return err
	}
	defer pub.Close()
	img, err := readImage(pub, it.ID)
	if err != nil {
		return err
	}
	pool, err := j.openPool()
	if err != nil {
		return err
	}
	for _, b := range img.Blobs {
		ok, err := pool.Adopt(ctx, pub.BlobPath(b.Digest), b.Digest, b.Size)
		if err != nil {
			return err
		}
		if !ok {
			return notThere(pub.BlobPath(b.Digest))
		}
	}
	return j.cache.Publish(pool, it.ID, img)
}

// readImage reads all of a published image but its blobs, which must be there.
func readImage(pub *cache.Published, id digest.Digest) (img *cache.Image, err error) {
	img = &cache.Image{}
	if img.Manifest, err = pub.Manifest(); err != nil {
		return nil, err
	}
	if img.List, err = pub.List(); err != nil {
		return nil, err
	}
	if img.Signatures, err = pub.Signatures(); err != nil {
		return nil, err
	}
	img.Origins, _ = pub.Origins() // for people: a copy without it is as good
	m, err := manifest.Parse(img.Manifest)
	if err != nil {
		return nil, err
	}
	img.Blobs = m.Blobs()
	if m.List || m.Config.Digest != id || !pub.Has(img.Blobs) {
		return nil, notThere(pub.Path())
	}
	return img, nil
}
