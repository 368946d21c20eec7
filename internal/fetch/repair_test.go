package fetch

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/cache"
	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

// TestRepair checks that an incomplete item, or one with another digest, is repaired by downloading only missing blobs.
func TestRepair(t *testing.T) {
	t.Parallel()
	img := images.New(images.Layer(5000), images.Layer(7000))
	first, second := img.Layers[0], img.Layers[1]
	// The same config and so the same id, but another compression and so another manifest.
	config := images.ConfigBytes(img.Config)
	other := images.New(config, images.LayerAs(images.Zstd, 5000), images.LayerAs(images.Plain, 7000))
	half := images.New(config, images.Use(first), images.LayerAs(images.Zstd, 7000))
	for name, c := range map[string]struct {
		start *images.Image // what is published first
		spoil func(w *world, dir string)
		wants int64 // bytes of blobs to download
	}{
		"nothing wrong but the pool gone": {img, func(w *world, _ string) { w.dropPool() }, -1},
		"blob missing, in the pool":       {img, func(_ *world, dir string) { remove(dir, first.Digest.Encoded()) }, 0},
		"blob missing, no pool": {img, func(w *world, dir string) {
			w.dropPool()
			remove(dir, first.Digest.Encoded())
		}, first.Size},
		"config missing, no pool": {img, func(w *world, dir string) {
			w.dropPool()
			remove(dir, img.ID.Encoded())
		}, int64(len(img.Config))},
		"blob truncated": {img, func(_ *world, dir string) {
			must(os.Truncate(filepath.Join(dir, second.Digest.Encoded()), 100)) // hard link of the pool's file
		}, second.Size},
		"blob too long": {img, func(_ *world, dir string) {
			put(filepath.Join(dir, second.Digest.Encoded()), string(second.Blob)+"x")
		}, second.Size},
		"blob a symbolic link": {img, func(_ *world, dir string) {
			remove(dir, second.Digest.Encoded())
			must(os.Symlink("/dev/zero", filepath.Join(dir, second.Digest.Encoded())))
		}, 0},
		"manifest missing": {img, func(_ *world, dir string) { remove(dir, "manifest.json") }, 0},
		"manifest empty":   {img, func(_ *world, dir string) { put(filepath.Join(dir, "manifest.json"), "") }, 0},
		"manifest no JSON": {img, func(_ *world, dir string) { put(filepath.Join(dir, "manifest.json"), "<html>") }, 0},
		"manifest re-written, no pool": {img, func(w *world, dir string) {
			w.dropPool()
			put(filepath.Join(dir, "manifest.json"), string(img.Raw)+"\n")
		}, 0},
		"version missing": {img, func(_ *world, dir string) { remove(dir, "version") }, 0},
		"everything but the name": {img, func(w *world, dir string) {
			w.dropPool()
			must(os.RemoveAll(dir))
			must(os.Mkdir(dir, 0o755))
		}, img.Size()},
		"a file in place of the directory": {img, func(_ *world, dir string) {
			must(os.RemoveAll(dir))
			put(dir, "file")
		}, 0},
		"other compression":          {other, func(*world, string) {}, first.Size + second.Size},
		"other compression, no pool": {other, func(w *world, _ string) { w.dropPool() }, first.Size + second.Size},
		"one layer in common":        {half, func(w *world, _ string) { w.dropPool() }, second.Size},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, name := serve(t, img, c.start)
			w := newWorld(t)
			w.images(itemOf(c.start, name)).ok()
			c.spoil(w, cache.Open(w.cache).ImagePath(img.ID))
			f.Reset()
			out := w.images(itemOf(img, name)).ok().cached(c.wants < 0)
			w.has(img)
			if got := f.BytesSent("/blobs/"); got != max(c.wants, 0) {
				t.Errorf("downloaded %d bytes, want %d:\n%s", got, c.wants, out.Log)
			}
			if m := out.Results[0].Metadata; c.wants >= 0 && (m.Bytes != c.wants || m.Reused != img.Size()-c.wants) {
				t.Errorf("reported are %d bytes downloaded and %d reused, want %d and %d", m.Bytes, m.Reused, c.wants, img.Size()-c.wants)
			}
			w.images(itemOf(img, name)).ok().cached(true)
		})
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func remove(dir, name string) { must(os.Remove(filepath.Join(dir, name))) }

// TestRepairThatFails checks that a damaged image is kept until it can be replaced.
func TestRepairThatFails(t *testing.T) {
	t.Parallel()
	img := images.New(images.Layer(5000), images.Layer(7000))
	f, name := serve(t, img)
	w := newWorld(t)
	w.images(itemOf(img, name)).ok()
	w.dropPool()
	remove(cache.Open(w.cache).ImagePath(img.ID), img.Layers[0].Digest.Encoded())
	f.On(registry.Blob(string(img.Layers[0].Digest)), registry.Status(404, ""))
	if out := w.images(itemOf(img, name)); out.Results[0].Success {
		t.Fatal("succeeded without the layer")
	}
	if got := len(w.published(img.ID)); got != 4 { // version, manifest, config, one layer
		t.Errorf("%d files are left, want 4", got)
	}
}

// TestStoredListIsUpdated checks the stored list after the pin changes between list and manifest.
func TestStoredListIsUpdated(t *testing.T) {
	t.Parallel()
	img := images.New(images.Layer(100))
	one, two := images.NewList(images.Of(img)), images.NewList(images.Of(img), images.Docker())
	f, name := serve(t, one, two)
	w := newWorld(t)
	for i, c := range []struct {
		list   *images.List
		cached bool
	}{{one, false}, {one, true}, {two, false}, {two, true}, {one, false}} {
		f.Reset()
		w.images(via(c.list, img, name)).ok().cached(c.cached)
		w.has(img)
		if got := w.listOf(img.ID); got != string(c.list.Raw) {
			t.Errorf("step %d: the list is %q", i, got)
		}
		if n := f.BytesSent("/blobs/"); i > 0 && n != 0 {
			t.Errorf("step %d: downloaded %d bytes", i, n)
		}
	}
}

// TestSharedLayers checks that images of a cache share one file for a common layer.
func TestSharedLayers(t *testing.T) {
	t.Parallel()
	common := images.New(images.Layer(9000)).Layers
	a, b := images.New(images.Use(common...), images.Layer(1)), images.New(images.Use(common...), images.Layer(2))
	f, name := serve(t, a, b)
	w := newWorld(t)
	w.images(itemOf(a, name)).ok()
	w.images(itemOf(b, name)).ok()
	if n := len(f.Matching(registry.Blob(string(common[0].Digest)))); n != 1 {
		t.Errorf("the common layer was asked for %d times", n)
	}
	stat := func(id digest.Digest) os.FileInfo {
		fi, err := os.Stat(filepath.Join(cache.Open(w.cache).ImagePath(id), common[0].Digest.Encoded()))
		must(err)
		return fi
	}
	if !os.SameFile(stat(a.ID), stat(b.ID)) {
		t.Error("the common layer is there twice")
	}
}
