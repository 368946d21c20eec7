package fetch

import (
	"bytes"
	"context"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"osbuild-containers/internal/image"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/request"
	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

// TestMemory checks that neither a layer nor a part of it that grows with its size is held in memory.
func TestMemory(t *testing.T) {
	peak := func(size int64, compression images.Compression, layers int) int64 {
		var opts []images.Option
		for range layers {
			opts = append(opts, images.LayerAs(compression, size))
		}
		img := images.New(opts...)
		f := registry.NewFaults(t, img.Handler())
		w := newWorld(t).alone()
		return w.images(itemOf(img, f.Addr+"/a/b")).ok().Peak
	}
	small := peak(1000, images.Plain, 1)
	for name, c := range map[string]struct {
		size   int64
		layers int
		limit  int64 // more than for a small image, in bytes
	}{
		"one layer of 64 MiB": {64 << 20, 1, 8 << 20},
		"8 layers of 4 MiB":   {4 << 20, 8, 12 << 20},
		"2000 layers":         {10, 2000, 20 << 20},
	} {
		if got := peak(c.size, images.Plain, c.layers); got > small+c.limit {
			t.Errorf("%s: %d KiB, more than %d above the %d KiB for a small image", name, got>>10, c.limit>>10, small>>10)
		} else {
			t.Logf("%s: %d KiB, %d KiB more than a small image", name, got>>10, (got-small)>>10)
		}
	}
}

// TestFewReadersOfStorage checks that few layers of a containers storage are read in parallel, whatever max-parallel is: the
// library needs megabytes for each.
func TestFewReadersOfStorage(t *testing.T) {
	t.Parallel()
	var opts []images.Option
	for range 8 {
		opts = append(opts, images.LayerAs(images.Plain, 1000))
	}
	img := images.New(opts...)
	m, err := manifest.Parse(img.Raw)
	must(err)
	for transport, most := range map[string]int{request.ContainersStorage: storeReaders, request.Docker: 8} {
		ri := itemOf(img, "localhost/name")
		ri.Image.Transport = transport
		j := newJob(&request.Request{Items: []request.Item{ri}, Options: request.Options{MaxParallel: 8, StallTimeout: time.Minute}, Cache: t.TempDir()}, nil)
		pool, err := j.openPool(t.Context())
		must(err)
		src := &crowd{img: img, enough: most}
		src.cond.L = &src.mu
		s := &session{it: j.newItem(ri), open: []image.Source{src}}
		if err := s.it.eachBlob(t.Context(), "image", m, func(ctx context.Context, d manifest.Descriptor, bar *progress.Blob) error {
			return s.blob(ctx, pool, d, bar)
		}); err != nil {
			t.Fatal(err)
		}
		j.close()
		if src.most != most {
			t.Errorf("%s: %d readers at one time, want %d", transport, src.most, most)
		}
	}
}

// crowd is a source whose readers wait for each other.
type crowd struct {
	image.Source
	img    *images.Image
	enough int // number of readers that lets them continue

	mu        sync.Mutex
	cond      sync.Cond
	now, most int
}

func (c *crowd) Blob(_ context.Context, d manifest.Descriptor, _ int64) (io.ReadCloser, int64, error) {
	if d.Digest == c.img.ID {
		return io.NopCloser(bytes.NewReader(c.img.Config)), 0, nil
	}
	c.mu.Lock()
	c.now++
	c.most = max(c.most, c.now)
	c.cond.Broadcast()
	for c.most < c.enough {
		c.cond.Wait()
	}
	c.mu.Unlock()
	time.Sleep(10 * time.Millisecond) // time for more readers
	i := slices.IndexFunc(c.img.Layers, func(l images.LayerInfo) bool { return l.Digest == d.Digest })
	return &leaving{bytes.NewReader(c.img.Layers[i].Blob), c}, 0, nil
}

type leaving struct {
	io.Reader
	from *crowd
}

func (l *leaving) Close() error {
	l.from.mu.Lock()
	defer l.from.mu.Unlock()
	l.from.now--
	return nil
}
