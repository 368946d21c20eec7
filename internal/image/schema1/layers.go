package schema1

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"osbuild-containers/internal/compression"
	"osbuild-containers/internal/ctxio"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/panics"
)

// ReadLayers reads the layers of the image in parallel, each once, to learn what a conversion needs. The error is a
// manifest.MismatchError if a layer does not have its digest.
func (i *Image) ReadLayers(ctx context.Context, open func(digest.Digest) (io.ReadCloser, error)) (map[digest.Digest]Layer, error) {
	layers := map[digest.Digest]Layer{}
	var mu sync.Mutex
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(max(2, runtime.GOMAXPROCS(0)))
	for _, d := range i.Manifest().Blobs() {
		g.Go(func() error {
			return panics.Catch(func() error {
				l, err := readLayer(ctx, d.Digest, open)
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

// readLayer reads a layer to EOF.
func readLayer(ctx context.Context, d digest.Digest, open func(digest.Digest) (io.ReadCloser, error)) (l Layer, err error) {
	in, err := open(d)
	if err != nil {
		return l, err
	}
	defer in.Close()
	blob := &hashed{r: ctxio.Reader(ctx, in), hash: digest.SHA256.Digester()}
	diff, err := diffID(blob)
	if _, e := io.CopyBuffer(io.Discard, struct{ io.Reader }{blob}, make([]byte, 64<<10)); e != nil {
		return l, e
	}
	if got := blob.hash.Digest(); got != d { // reported first: it explains an error of the decompressor
		return l, manifest.Mismatch("", got, d)
	}
	return Layer{DiffID: diff, Size: blob.n}, err
}

// diffID returns the digest of a layer's uncompressed content.
func diffID(blob io.Reader) (digest.Digest, error) {
	plain, err := compression.Plain(blob)
	if err != nil {
		return "", err
	}
	defer plain.Close()
	hash := digest.SHA256.Digester()
	_, err = io.CopyBuffer(struct{ io.Writer }{hash.Hash()}, struct{ io.Reader }{plain}, make([]byte, 256<<10))
	return hash.Digest(), err
}

// hashed counts and hashes the bytes read.
type hashed struct {
	r    io.Reader
	n    int64
	hash digest.Digester
}

func (h *hashed) Read(p []byte) (int, error) {
	n, err := h.r.Read(p)
	h.n += int64(n)
	h.hash.Hash().Write(p[:n])
	return n, err
}
