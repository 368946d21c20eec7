package fetch

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/request"
	"osbuild-containers/internal/retry"
	"osbuild-containers/test/images"
	"osbuild-containers/test/output"
	"osbuild-containers/test/registry"
)

// TestConnectionsAreClosedWithTheirItem checks that a request of thousands of items does not run out of descriptors.
func TestConnectionsAreClosedWithTheirItem(t *testing.T) {
	open := func() (n int) {
		names, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			// The library leaves directories of its configuration to the garbage collector.
			if to, _ := os.Readlink(filepath.Join("/proc/self/fd", name.Name())); strings.HasPrefix(to, "socket:") {
				n++
			}
		}
		return n
	}
	reg := sharedRegistry(t)
	var items []request.Item
	for n := range 40 {
		img := images.New(images.Seed(uint64(1000+n)), images.Layer(100))
		list := images.NewList(images.Of(img))
		name := repo(t)
		list.Push(t, reg.URL, name)
		items = append(items, listOf(list, reg.Addr+"/"+name))
	}
	w := newWorld(t)
	w.lists(items[:1]...).ok()
	before := open()
	w.lists(items[1:]...).ok()
	for end := time.Now().Add(time.Minute); open() > before+20; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) { // without the fix they stay for 90 s
			t.Fatalf("%d sockets are open after 39 items, %d before", open(), before)
		}
	}
}

// TestNoRangesAndABadConnection checks that the whole blob is requested again from a server without ranges, within the retries.
func TestNoRangesAndABadConnection(t *testing.T) {
	t.Parallel()
	layer := layered.Layers[0]
	f, name := serve(t, layered)
	blob := registry.Blob(string(layer.Digest))
	f.On(blob, registry.RangeNotSatisfiable())
	f.On(blob.First(1), registry.Truncate(60_000))
	f.On(blob.Nth(3), registry.Truncate(50_000))
	w := newWorld(t)
	w.images(itemOf(layered, name)).ok()
	w.has(layered)
}

// TestListOfABrokenRegistry checks that a server error for one entry of a list is not followed by trying the other entries.
func TestListOfABrokenRegistry(t *testing.T) {
	t.Parallel()
	other := images.New(images.Seed(77), images.Layer(100))
	list := images.NewList(images.Of(other, layered))
	f, name := serve(t, list)
	f.On(registry.Manifest(string(other.Digest)), registry.Status(503, "busy"))
	w := newWorld(t)
	w.options.Retries = 1
	out := w.images(via(list, layered, name))
	if out.Results[0].Success {
		t.Error("the item is there")
	}
	if n := len(f.Matching(registry.Manifest(string(layered.Digest)))); n != 0 {
		t.Errorf("the next entry was asked for %d times", n)
	}
}

// TestBlobsOfACancelledItemAreLeftAlone checks that no further blobs of a cancelled item are opened.
func TestBlobsOfACancelledItemAreLeftAlone(t *testing.T) {
	t.Parallel()
	pool, err := cache.Open(t.TempDir()).OpenPool(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	stopped := errors.New("stopped")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(stopped)
	layer := layered.Layers[0]
	if w, err := pool.Acquire(ctx, layer.Digest, layer.Size, nil); w != nil || !errors.Is(err, stopped) {
		t.Errorf("acquire gives %v, %v", w, err)
	}
	op := retry.NewGroup(retry.Policy{Stall: time.Minute}).New(nil)
	r := &reader{ctx: ctx, op: op, w: op.Watch(ctx), r: io.NopCloser(strings.NewReader("x")), d: manifest.Descriptor{Size: 1}}
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, stopped) {
		t.Errorf("read gives %v", err)
	}
}

// TestPanic checks that a panic anywhere is an error of its item only.
func TestPanic(t *testing.T) {
	t.Parallel()
	items := []request.Item{listOf(images.NewList(nil), "a"), itemOf(layered, "b"), itemOf(layered, "c")}
	var log output.Buffer
	j := newJob(&request.Request{Items: items, Options: request.Options{MaxParallel: 1}, Cache: t.TempDir()}, progress.NewLog(&log))
	present := func(_ context.Context, it request.Item) bool {
		if it.Image.Name == "a" {
			panic("one")
		}
		return it.Image.Name == "b"
	}
	res := j.run(t.Context(), present, func(context.Context, *item) error { panic("two") })
	for i, want := range []string{"a@sha256", "", "c@sha256"} {
		if got := res[i].Error; res[i].Success != (want == "") || !strings.HasPrefix(got, want) || want != "" && !strings.Contains(got, "please report it") {
			t.Errorf("item %d: %+v", i, res[i])
		}
	}
	if n := strings.Count(log.String(), ": failed: internal error: "); n != 2 {
		t.Errorf("the log is %s", log.String())
	}
	j.req.Items = items[:1]
	if p := j.plan(t.Context(), present, nil)[0]; p.Err == nil || !strings.Contains(p.Err.Error(), "internal error: one") {
		t.Errorf("planned: %+v", p)
	}
}
