package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/image/schema1"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/progress"
)

// parseSchema1 parses a manifest that manifest.Parse refused with refused. It returns that error unless the manifest is of
// schema 1.
func parseSchema1(raw []byte, refused error) (*schema1.Image, error) {
	if !errors.Is(refused, manifest.ErrSchema1) {
		return nil, refused
	}
	return schema1.Parse(raw)
}

// convert adds the layers of a schema 1 image to the pool and returns the converted image, whose id is only known now.
func (s *session) convert(ctx context.Context, pool *cache.Pool, c *chosen) (*cache.Image, error) {
	it := s.it
	if err := it.eachBlob(ctx, "image", c.old.Manifest(), func(ctx context.Context, d manifest.Descriptor, bar *progress.Blob) error {
		return s.blob(ctx, pool, d, bar)
	}); err != nil {
		return nil, err
	}
	layers, err := c.old.ReadLayers(ctx, func(d digest.Digest) (io.ReadCloser, error) { return it.cache.OpenPooled(d) })
	if err != nil {
		return nil, err
	}
	now, err := c.old.Convert(layers)
	if err != nil {
		return nil, err
	}
	if now.ID != it.ID {
		return nil, wrongID(now.ID, it.ID)
	}
	if err := it.putConfig(ctx, pool, now); err != nil {
		return nil, err
	}
	return &cache.Image{
		Manifest: now.Manifest, Blobs: now.Parsed.Blobs(), Schema1: &cache.Schema1{Manifest: c.raw, Signatures: c.signatures},
	}, nil
}

func wrongID(got, want digest.Digest) error {
	return fmt.Errorf("image id is %s, want %s: pin both again, or fix one", got, want)
}

// putConfig adds the config made by the conversion to the pool.
func (it *item) putConfig(ctx context.Context, pool *cache.Pool, c *schema1.Converted) error {
	w, err := it.acquire(ctx, pool, c.Parsed.Config, func() (*os.File, error) { return it.cache.OpenImageBlob(it.ID, c.ID) }, nil)
	if errors.Is(err, cache.ErrExists) {
		return nil
	}
	if err != nil {
		return err
	}
	defer w.Close()
	if err := w.Put(c.Config); err != nil {
		return err
	}
	return w.Commit()
}

// Schema1Layers reads and verifies the layers of a schema 1 image, to learn what its conversion needs.
func (s *Stream) Schema1Layers(ctx context.Context, i *schema1.Image) (map[digest.Digest]schema1.Layer, error) {
	return i.ReadLayers(ctx, func(d digest.Digest) (io.ReadCloser, error) {
		return s.Blob(ctx, manifest.Descriptor{Digest: d, Size: -1}), nil
	})
}
