package cache_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/manifest"
)

// put brings a blob into the pool, as a download does.
func put(ctx context.Context, pool *cache.Pool, content string) (manifest.Descriptor, error) {
	d := manifest.Descriptor{Digest: digest.FromString(content), Size: int64(len(content))}
	w, err := pool.Acquire(ctx, d.Digest, d.Size, nil)
	if errors.Is(err, cache.ErrExists) {
		return d, nil
	}
	if err != nil {
		return d, err
	}
	defer w.Close()
	offset, err := w.Resume(ctx) // what an interrupted download left
	if err != nil {
		return d, err
	}
	if _, err := w.ReadFrom(strings.NewReader(content[offset:])); err != nil {
		return d, err
	}
	return d, w.Commit() // verifies, syncs and renames
}

func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "cache")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	c := cache.Open(dir)
	pool, err := c.OpenPool(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	config, err := put(ctx, pool, `{"architecture": "amd64"}`)
	if err != nil {
		fmt.Println(err)
		return
	}
	layer, err := put(ctx, pool, "a layer")
	if err != nil {
		fmt.Println(err)
		return
	}
	id := config.Digest
	err = c.Publish(ctx, pool, id, &cache.Image{
		Manifest: []byte("{}"),
		Blobs:    []manifest.Descriptor{config, layer},
		Origins:  []cache.Origin{{Name: "registry.example/name:1"}},
	})
	fmt.Println("published:", err)

	pub, err := c.OpenImage(id)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("complete:", pub.Has([]manifest.Descriptor{config, layer}))
	s, err := pub.Stored(layer.Digest)
	fmt.Println("names of the layer:", s.Links, err)

	// Removed is only the image that the caller read, and not while another process uses it.
	unlock, err := pub.RLock()
	fmt.Println("locked:", err)
	_, err = c.Remove(ctx, id, func(*cache.Published) bool { return true })
	fmt.Println("in use:", errors.Is(err, cache.ErrInUse))
	unlock()
	pub.Close()
	freed, err := c.Remove(ctx, id, func(*cache.Published) bool { return true })
	fmt.Println("freed by the image:", freed, err)

	// Its blobs are in the pool until that is pruned.
	pool.Close()
	pruned, err := c.Prune(ctx, time.Now())
	fmt.Println("pruned:", len(pruned.Unused), err)
	// Output:
	// published: <nil>
	// complete: true
	// names of the layer: 2 <nil>
	// locked: <nil>
	// in use: true
	// freed by the image: 0 <nil>
	// pruned: 2 <nil>
}

// A download that breaks leaves what it wrote to the next one.
func ExampleWriter_Resume() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "cache")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	pool, err := cache.Open(dir).OpenPool(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer pool.Close()
	const content = "a long layer"
	d := digest.FromString(content)
	for _, part := range []string{"a long", " layer"} {
		w, err := pool.Acquire(ctx, d, int64(len(content)), nil)
		if err != nil {
			fmt.Println(err)
			return
		}
		offset, err := w.Resume(ctx)
		fmt.Println("continues at", offset, err)
		_, err = w.ReadFrom(strings.NewReader(part))
		fmt.Println("written to", w.Offset(), err)
		if err := w.Commit(); err != nil {
			var mismatch *manifest.MismatchError
			fmt.Println("mismatch:", errors.As(err, &mismatch))
		}
		w.Close()
	}
	_, err = pool.Acquire(ctx, d, int64(len(content)), nil)
	fmt.Println(err)
	// Output:
	// continues at 0 <nil>
	// written to 6 <nil>
	// mismatch: true
	// continues at 6 <nil>
	// written to 12 <nil>
	// the blob is in the pool
}
