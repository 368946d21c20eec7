package osbuild

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
	"osbuild-containers/test/store"
)

// wantImage compares all files of a published image with what was pushed.
func wantImage(t *testing.T, dir string, img *images.Image) {
	t.Helper()
	files := map[string]digest.Digest{"manifest.json": img.Digest, img.ID.Encoded(): img.ID}
	for _, l := range img.Layers {
		files[l.Digest.Encoded()] = l.Digest
	}
	for name, want := range files {
		wantFile(t, filepath.Join(dir, name), want)
	}
	if _, err := os.Stat(filepath.Join(dir, "version")); err != nil {
		t.Error(err)
	}
}

func wantFile(t *testing.T, path string, want digest.Digest) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
	} else if got := digest.FromBytes(data); got != want {
		t.Errorf("%s has digest %s, want %s", path, got, want)
	}
}

func wantCached(t *testing.T, r result, source string, n int, cached bool) {
	t.Helper()
	got, printed := r.of(t, source)
	if !printed {
		t.Logf("this osbuild does not print the results of %s", source)
		return
	}
	if len(got) != n {
		t.Errorf("%s: %d results, want %d", source, len(got), n)
	}
	for _, item := range got {
		if item.Cached != cached || item.Error != "" {
			t.Errorf("%s: %+v, want cached %t", source, item, cached)
		}
	}
}

func TestBuildFetchesOnceAndThenFindsItCached(t *testing.T) {
	h := newHost(t)
	reg := registry.Start(t)
	f := reg.Faults(t)
	amd := images.New(images.Layer(300_000), images.Layer(2000))
	arm := images.New(images.Arch("arm64"), images.Use(amd.Layers[0]), images.Layer(5000))
	docker := images.New(images.Docker(), images.Seed(1), images.Layer(3000))
	list := images.NewList(images.Of(amd, arm))
	list.Push(t, reg.URL, "a/multi:latest")
	docker.Push(t, reg.URL, "a/docker")
	name := f.Addr + "/a/multi"
	m := manifest(object{
		"org.osbuild.skopeo": items(object{
			amd.ID.String():    pinned(name, amd),
			arm.ID.String():    pinned(name+":latest", arm),
			docker.ID.String(): pinned(f.Addr+"/a/docker", docker),
		}),
		"org.osbuild.skopeo-index": items(object{list.Digest.String(): listed(name)}),
	}, noop(amd.ID.String(), arm.ID.String(), docker.ID.String()))

	r := h.build(t, m, "tree")
	if !r.Success {
		t.Fatal(r.text)
	}
	wantCached(t, r, "org.osbuild.skopeo", 3, false)
	wantCached(t, r, "org.osbuild.skopeo-index", 1, false)
	for _, img := range []*images.Image{amd, arm, docker} {
		wantImage(t, h.sources("org.osbuild.containers", img.ID.String(), "image"), img)
	}
	record := h.sources("org.osbuild.containers", amd.ID.String(), "source.json")
	before, err := os.Stat(record) // beside what osbuild reads
	if err != nil {
		t.Fatal(err)
	}
	wantFile(t, h.sources("org.osbuild.files", list.Digest.String()), list.Digest)

	f.Reset()
	r = h.build(t, m, "tree")
	if !r.Success {
		t.Fatal(r.text)
	}
	wantCached(t, r, "org.osbuild.skopeo", 3, true)
	wantCached(t, r, "org.osbuild.skopeo-index", 1, true)
	if after, err := os.Stat(record); err != nil || !os.SameFile(before, after) {
		t.Errorf("where the image is from was written again: %v", err)
	}
	if asked := f.Requests(); len(asked) != 0 {
		t.Errorf("the second build asked the registry %d times, first for %s", len(asked), asked[0].Path)
	}
}

// TestStageReadsWhatWePublish lets osbuild's own skopeo stage copy the image and
// its list out of the store.
func TestStageReadsWhatWePublish(t *testing.T) {
	h := newHost(t)
	if _, err := exec.LookPath("skopeo"); err != nil {
		t.Skip("osbuild's skopeo stage needs skopeo")
	}
	reg := registry.Start(t)
	img := images.New(images.Layer(300_000), images.Layer(2000))
	list := images.NewList(images.Of(img, images.New(images.Arch("arm64"))))
	list.Push(t, reg.URL, "a/b:latest")
	r := h.build(t, manifest(object{
		"org.osbuild.skopeo":       items(object{img.ID.String(): pinned(reg.Addr+"/a/b", img)}),
		"org.osbuild.skopeo-index": items(object{list.Digest.String(): listed(reg.Addr + "/a/b")}),
	}, skopeo(list.Digest.String(), img.ID.String())), "tree")
	if strings.Contains(r.text, "validation-error") && strings.Contains(r.text, "'dir'") {
		t.Skip("the skopeo stage of this osbuild has no destination of type dir")
	}
	if !r.Success {
		t.Fatal(r.text)
	}
	dir := filepath.Join(h.output, "tree", "image")
	wantFile(t, filepath.Join(dir, "manifest.json"), img.Digest)
	for _, l := range img.Layers {
		wantFile(t, filepath.Join(dir, l.Digest.Encoded()), l.Digest)
	}
}

// TestFailingItemIsShownWithOurError: whatever its version, osbuild must not continue
// without an image, and must name it.
func TestFailingItemIsShownWithOurError(t *testing.T) {
	h := newHost(t)
	reg := registry.Start(t)
	good, missing := images.New(images.Layer(1000)), images.New(images.Layer(2000))
	good.Push(t, reg.URL, "a/b")
	r := h.build(t, manifest(object{
		"org.osbuild.skopeo": items(object{
			good.ID.String():    pinned(reg.Addr+"/a/b", good),
			missing.ID.String(): pinned(reg.Addr+"/a/b", missing),
		}),
	}, noop()))
	if r.Success {
		t.Fatal("the build succeeded")
	}
	for _, word := range []string{reg.Addr + "/a/b", missing.Digest.String(), "org.osbuild.skopeo"} {
		if !strings.Contains(r.text, word) {
			t.Errorf("osbuild's output does not name %s:\n%s", word, r.text)
		}
	}
	if strings.Contains(r.text, "Traceback") && !h.old {
		t.Errorf("osbuild broke:\n%s", r.text)
	}
	wantImage(t, h.sources("org.osbuild.containers", good.ID.String(), "image"), good)
	if _, err := os.Lstat(h.sources("org.osbuild.containers", missing.ID.String(), "image")); err == nil {
		t.Error("the missing image was published")
	}
}

func TestImagesInTheHostsStorageAreFound(t *testing.T) {
	h := newHost(t)
	img, other := images.New(images.Layer(1000)), images.New(images.Layer(2000))
	s := store.New(t, "vfs")
	s.Add(t, "localhost/name:v1", img)
	s.Use(t)
	build := func(img *images.Image) result {
		return h.build(t, manifest(object{
			"org.osbuild.containers-storage": items(object{img.ID.String(): object{}}),
		}, noop()))
	}
	if r := build(img); !r.Success {
		t.Errorf("the image that is there: %s", r.text)
	}
	if r := build(other); r.Success || !strings.Contains(r.text, other.ID.String()) {
		t.Errorf("the image that is not there: %s", r.text)
	}
}

// TestLargeRequestGoesThroughMemfd has so many items, all cached, that neither the
// request nor the reply fits a packet.
func TestLargeRequestGoesThroughMemfd(t *testing.T) {
	h := newHost(t)
	data, err := os.ReadFile("/proc/sys/net/core/wmem_max")
	if err != nil {
		t.Fatal(err)
	}
	limit, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	if limit > 8<<20 {
		t.Skipf("packets of %d bytes are allowed here: too many items", limit)
	}
	const name = "127.0.0.1:1/not/asked"
	entries := object{}
	if err := os.MkdirAll(h.sources("org.osbuild.files"), 0o777); err != nil {
		t.Fatal(err)
	}
	for size := 0; size < limit; {
		list := images.NewList(images.Of(), images.Annotation("n", strconv.Itoa(len(entries))))
		path := h.sources("org.osbuild.files", list.Digest.String())
		if err := os.WriteFile(path, list.Raw, 0o666); err != nil {
			t.Fatal(err)
		}
		entries[list.Digest.String()] = listed(name)
		size += len(list.Digest) + len(fmt.Sprint(listed(name)))
	}
	start := time.Now()
	r := h.build(t, manifest(object{"org.osbuild.skopeo-index": items(entries)}, noop()))
	if !r.Success {
		t.Fatalf("%d items: %.2000s", len(entries), r.text)
	}
	wantCached(t, r, "org.osbuild.skopeo-index", len(entries), true)
	t.Logf("%d items, %v", len(entries), time.Since(start).Round(time.Millisecond))
}
