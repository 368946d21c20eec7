package fetch

import (
	"testing"

	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

// TestMemory shows that a layer is never held in memory, nor a part of it that grows with it.
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
