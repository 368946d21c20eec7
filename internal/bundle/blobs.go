package bundle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/ctxio"
	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/panics"
	"osbuild-containers/internal/progress"
)

// waiting limits the blobs of an image that are handled in parallel: some wait for the disk.
const waiting = 16

// blobs adds the blobs of an image to the pool.
func (in *importer) blobs(ctx context.Context, pool *cache.Pool, img *foundImage, it *progress.Item, r *Result) error {
	var size int64
	for _, d := range img.m.Blobs() {
		size += d.Size
	}
	it.Start("import of image "+progress.Short(img.id.String()), len(img.m.Layers), size)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(waiting)
	var mu sync.Mutex
	eachBlob(img.m, func(d manifest.Descriptor, kind string, number int) {
		bar := it.Blob(kind, number, len(img.m.Layers), d.Digest.String(), d.Size)
		g.Go(func() error {
			var copied int64
			err := panics.Catch(func() (err error) {
				copied, err = in.blob(ctx, pool, img, d, bar)
				return err
			})
			if err != nil && !errors.As(err, new(*missingError)) {
				err = fmt.Errorf("blob %s: %w", d.Digest, err)
			}
			mu.Lock()
			defer mu.Unlock()
			if r.Bytes += copied; err == nil {
				r.Reused += d.Size - copied
			}
			return err
		})
	})
	return g.Wait()
}

// blob adds one blob to the pool, and returns how many of its bytes were copied; on an error, how many are kept.
func (in *importer) blob(ctx context.Context, pool *cache.Pool, img *foundImage, d manifest.Descriptor, bar *progress.Blob) (int64, error) {
	if err := in.discard(ctx, pool, d); err != nil {
		return 0, err
	}
	w, err := pool.Acquire(ctx, d.Digest, d.Size, bar.Waiting)
	if errors.Is(err, cache.ErrExists) {
		bar.Skip("reusing")
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer w.Close()
	for _, id := range []digest.Digest{img.id, in.otherImage(img, d)} {
		if id == "" {
			continue
		}
		if linked, err := w.Link(ctx, func() (*os.File, error) { return in.cache.OpenImageBlob(id, d.Digest) }); err != nil || linked {
			bar.Skip("reusing")
			return 0, err
		}
	}
	c, err := img.open(d.Digest)
	if errors.Is(err, fs.ErrNotExist) { // the cache's copy is damaged
		err = in.notFound(d, 0)
	}
	if err != nil {
		return 0, err
	}
	defer c.close()
	copied, err := in.copy(ctx, w, c, d, bar)
	if err != nil {
		return copied, err
	}
	if err := w.Commit(); err != nil {
		return 0, err
	}
	bar.Done()
	return copied, nil
}

// discard removes a pooled blob that does not match its digest, if Repair is set.
func (in *importer) discard(ctx context.Context, pool *cache.Pool, d manifest.Descriptor) error {
	if !in.Repair {
		return nil
	}
	if in.slots.Acquire(ctx, 1) != nil {
		return context.Cause(ctx)
	}
	defer in.slots.Release(1)
	return pool.Discard(ctx, d.Digest)
}

// otherImage returns an image of the cache with a blob that the input lacks, or "".
func (in *importer) otherImage(img *foundImage, d manifest.Descriptor) digest.Digest {
	c, err := img.open(d.Digest)
	if err == nil {
		c.close()
		return ""
	}
	return in.published()[d.Digest]
}

// copy writes the missing part of the blob, and verifies all of it. A partial blob of an earlier import is discarded, once,
// if it is not the beginning of the blob. copy returns how many bytes it copied that are kept.
func (in *importer) copy(ctx context.Context, w *cache.Writer, c content, d manifest.Descriptor, bar *progress.Blob) (int64, error) {
	if in.slots.Acquire(ctx, 1) != nil {
		return 0, context.Cause(ctx)
	}
	defer in.slots.Release(1)
	begun, err := w.Resume(ctx)
	if err != nil {
		return 0, err
	}
	if begun > 0 {
		bar.Resuming(begun)
	} else {
		bar.Begin("copying")
	}
	err = read(ctx, w, c, d)
	if err == nil {
		err = w.Verify()
	}
	switch {
	case err == nil:
		return d.Size - begun, nil
	case !manifest.IsMismatch(err):
		return max(0, w.Offset()-begun), err
	case begun == 0 || ctx.Err() != nil:
		return 0, err
	}
	if err := w.Reset(); err != nil {
		return 0, err
	}
	bar.Reset(0)
	if err := read(ctx, w, c, d); err != nil {
		return 0, err
	}
	return d.Size, w.Verify()
}

// read copies to the end of the blob.
func read(ctx context.Context, w *cache.Writer, c content, d manifest.Descriptor) error {
	size := int64(len(c.bytes))
	switch {
	case c.packed:
		return unpack(ctx, w, c)
	case c.bytes == nil:
		size = c.Size
	}
	if size != d.Size {
		return manifest.SizeMismatch("", size, d.Size)
	}
	if c.bytes != nil {
		_, err := w.ReadFrom(bytes.NewReader(c.bytes[w.Offset():]))
		return err
	}
	return w.ReadFile(ctx, c.File, c.Offset)
}

// unpack writes the uncompressed content of a blob. It starts at the beginning, since decompression cannot be resumed.
func unpack(ctx context.Context, w *cache.Writer, c content) error {
	if err := w.Reset(); err != nil {
		return err
	}
	in, err := c.plain()
	if err != nil {
		return err
	}
	defer in.Close()
	_, err = w.ReadFrom(ctxio.Reader(ctx, in))
	return err
}

// withHint adds the hint to an error of the cache.
func (in *importer) withHint(err error) error {
	if err == nil {
		return nil
	}
	err = hint.With(err, in.cache.Hint(err))
	if manifest.IsMismatch(err) {
		return hint.Add(err, "it was damaged on its way: copy it here again, or export it again")
	}
	return err
}
