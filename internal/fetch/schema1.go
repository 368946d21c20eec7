package fetch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/compression"
	"osbuild-containers/internal/ctxio"
	"osbuild-containers/internal/image/schema1"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/panics"
	"osbuild-containers/internal/progress"
)

// parseSchema1 parses a manifest that manifest.Parse refused with err; nil if it is not of schema 1 or invalid, for
// which the error is returned.
func parseSchema1(raw []byte, err error) (*schema1.Image, error) {
	if !errors.Is(err, manifest.ErrSchema1) {
		return nil, err
	}
	return schema1.Parse(raw)
}

// convert brings the layers of an image of schema 1 into the pool, and returns what is to be published under its image
// id, which is known only now.
func (s *session) convert(ctx context.Context, pool *cache.Pool, c *chosen) (*cache.Image, error) {
	it := s.it
	m := c.old.Manifest()
	if err := it.eachBlob(ctx, "image", m, func(ctx context.Context, d manifest.Descriptor, bar *progress.Blob) error {
		return s.blob(ctx, pool, d, bar)
	}); err != nil {
		return nil, err
	}
	layers, err := eachLayer(ctx, m, func(_ context.Context, d manifest.Descriptor) (io.ReadCloser, error) {
		return it.cache.OpenPooled(d.Digest)
	})
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

// putConfig brings the config that the conversion made into the pool.
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

// eachLayer reads the layers of an image of schema 1, each once and some at one time, to know their diff IDs and sizes.
func eachLayer(ctx context.Context, m *manifest.Manifest, open func(context.Context, manifest.Descriptor) (io.ReadCloser, error)) (map[digest.Digest]schema1.Layer, error) {
	layers := map[digest.Digest]schema1.Layer{}
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(2, runtime.GOMAXPROCS(0)))
	for _, d := range m.Blobs() {
		g.Go(func() error {
			return panics.Catch(func() error {
				l, err := readLayer(ctx, d, open)
				if err != nil {
					return fmt.Errorf("layer %s: %w", d.Digest, err)
				}
				mu.Lock()
				defer mu.Unlock()
				layers[d.Digest] = l
				return nil
			})
		})
	}
	err := g.Wait()
	return layers, err
}

// readLayer reads a layer to its end.
func readLayer(ctx context.Context, d manifest.Descriptor, open func(context.Context, manifest.Descriptor) (io.ReadCloser, error)) (l schema1.Layer, err error) {
	in, err := open(ctx, d)
	if err != nil {
		return l, err
	}
	defer in.Close()
	blob := &counter{r: ctxio.Reader(ctx, in)}
	plain, err := compression.Plain(blob)
	if err != nil {
		return l, err
	}
	defer plain.Close()
	hash := digest.SHA256.Digester()
	if _, err = io.CopyBuffer(struct{ io.Writer }{hash.Hash()}, struct{ io.Reader }{plain}, make([]byte, 256<<10)); err != nil {
		return l, err
	}
	if _, err = io.Copy(io.Discard, blob); err != nil { // so that the blob is verified
		return l, err
	}
	return schema1.Layer{DiffID: hash.Digest(), Size: blob.n}, nil
}

// counter counts the bytes of a reader.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// Schema1Layers reads the layers of an image of schema 1, which verifies them, to know what its conversion needs.
func (s *Stream) Schema1Layers(ctx context.Context, i *schema1.Image) (map[digest.Digest]schema1.Layer, error) {
	return eachLayer(ctx, i.Manifest(), func(ctx context.Context, d manifest.Descriptor) (io.ReadCloser, error) {
		return s.Blob(ctx, d), nil
	})
}
