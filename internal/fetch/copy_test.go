package fetch

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/request"
	"osbuild-containers/test/images"
)

// copyTo copies items from the world's cache to another one.
func (w *world) copyTo(to *world, items ...request.Item) outcome {
	w.t.Helper()
	what := "copies of images"
	if items[0].Image.Digest == "" {
		what = "copies of lists"
	}
	o := childRequest{What: what, Request: request.Request{Method: request.Copy, Items: items, Options: w.options, Cache: w.cache, DstCache: to.cache}}
	var out outcome
	if w.home == "" {
		out = o.run(w.t.Context())
	} else {
		out = w.send(o)
	}
	out.t = w.t
	return out
}

// TestCopy checks that a copy is complete, shares files if possible, and is a cache hit.
func TestCopy(t *testing.T) {
	t.Parallel()
	list := images.NewList(images.Of(layered))
	_, name := serve(t, list)
	from, to := newWorld(t), newWorld(t)
	it := via(list, layered, name)
	from.images(it).ok()
	put(filepath.Join(cache.Open(from.cache).ImagePath(layered.ID), "signature-1"), "signature")
	from.dropPool()
	from.copyTo(to, it).ok().cached(false).says(
		name+"@"+progress.Short(string(list.Digest))+": copy of image "+progress.Short(string(layered.ID))+", 1 layer",
		": layer 1/1 "+progress.Short(string(layered.Layers[0].Digest)), ": done")
	to.has(layered, "signature")
	from.copyTo(to, it).ok().cached(true).says("1 of 1 image already in the cache")
	to.has(layered, "signature")
	if got := to.listOf(layered.ID); got != string(list.Raw) {
		t.Errorf("the list of the copy is %q", got)
	}
	to.images(it).ok().cached(true)
	file := func(w *world) os.FileInfo {
		fi, err := os.Stat(filepath.Join(cache.Open(w.cache).ImagePath(layered.ID), layered.Layers[0].Digest.Encoded()))
		must(err)
		return fi
	}
	if !os.SameFile(file(from), file(to)) {
		t.Error("the layer was not linked")
	}
	if _, err := os.Stat(filepath.Join(from.cache, "org.osbuild.containers/.pool")); err == nil {
		t.Error("the cache that was copied from has a pool now")
	}
}

// TestCopyLists does the same for manifest lists.
func TestCopyLists(t *testing.T) {
	t.Parallel()
	list := images.NewList(images.Of(layered))
	_, name := serve(t, list)
	from, to := newWorld(t), newWorld(t)
	from.lists(listOf(list, name)).ok()
	from.copyTo(to, listOf(list, name)).ok()
	if got := to.list(list.Digest); got != string(list.Raw) {
		t.Errorf("copied %q", got)
	}
	must(os.RemoveAll(from.cache))
	from.copyTo(to, listOf(list, name)).ok().cached(true)
	to.copyTo(from, listOf(images.NewList(nil), name)).failed("<name>: <path> is missing or damaged\nrun download first",
		"<name>", name+"@"+string(images.NewList(nil).Digest), "<path>", to.listPath(images.NewList(nil).Digest))
}

// TestCopyOfMissingImages checks that only complete, undamaged images with the pinned digest are copied.
func TestCopyOfMissingImages(t *testing.T) {
	t.Parallel()
	other := images.New(images.ConfigBytes(layered.Config), images.LayerAs(images.Zstd, 100_000)) // of the same id
	layer := layered.Layers[0].Digest
	for name, c := range map[string]struct {
		spoil func(dir string)
		pin   digest.Digest
		file  string // that the error names, below the image's directory
	}{
		"no image":        {func(dir string) { must(os.RemoveAll(dir)) }, layered.Digest, ""},
		"no layer":        {func(dir string) { remove(dir, layer.Encoded()) }, layered.Digest, ""},
		"a shorter layer": {func(dir string) { must(os.Truncate(filepath.Join(dir, layer.Encoded()), 5)) }, layered.Digest, ""},
		"a damaged layer": {func(dir string) {
			put(filepath.Join(dir, layer.Encoded()), string(make([]byte, layered.Layers[0].Size)))
		}, layered.Digest, layer.Encoded()},
		"another manifest": {func(string) {}, other.Digest, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, name := serve(t, layered)
			from, to := newWorld(t), newWorld(t)
			it := itemOf(layered, name)
			from.images(it).ok()
			dir := cache.Open(from.cache).ImagePath(layered.ID)
			c.spoil(dir)
			it.Image.Digest = c.pin
			from.copyTo(to, it).failed("<name>: <path> is missing or damaged\nrun download first",
				"<name>", name+"@"+string(c.pin), "<path>", filepath.Join(dir, c.file))
			to.nothing()
		})
	}
}
