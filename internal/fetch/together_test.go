package fetch

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/request"
	"osbuild-containers/test/registry"
)

// TestTogether checks that processes that fetch the same image at the same time download it once, and that waiting ones say so.
func TestTogether(t *testing.T) {
	t.Parallel()
	f, name := serve(t, layered)
	release := make(chan struct{})
	f.On(registry.Blob(string(layered.Layers[0].Digest)), registry.Hold(1000, release))
	w := newWorld(t).alone()
	outs, logs := make([]outcome, 3), make([]string, 3)
	var wg sync.WaitGroup
	for i := range outs {
		logs[i] = filepath.Join(t.TempDir(), "log")
		wg.Go(func() {
			outs[i] = w.send(childRequest{
				What: "images", Log: logs[i],
				Request: request.Request{Items: []request.Item{itemOf(layered, name)}, Options: w.options, Cache: w.cache},
			})
			outs[i].t = t
		})
	}
	eventually(t, "two processes that wait for the third", func() bool {
		waiting := 0
		for _, path := range logs {
			if logSays(path, "layer 1/1 "+progress.Short(string(layered.Layers[0].Digest))+" 101.9 kB: waiting for another process") {
				waiting++
			}
		}
		return waiting == 2
	})
	close(release)
	wg.Wait()
	for _, out := range outs {
		out.ok()
	}
	w.has(layered)
	if got := f.BytesSent("/blobs/"); got != layered.Size() {
		t.Errorf("%d bytes were downloaded, want %d", got, layered.Size())
	}
}

// TestOtherDies checks that a waiting process takes over when the downloading one is killed, and resumes its download.
func TestOtherDies(t *testing.T) {
	t.Parallel()
	layer := layered.Layers[0]
	f, name := serve(t, layered)
	f.On(registry.Blob(string(layer.Digest)).First(1), registry.Stall(60_000))
	w := newWorld(t).alone()
	items := []request.Item{itemOf(layered, name)}
	other := w.command(childRequest{What: "images", Request: request.Request{Items: items, Options: w.options, Cache: w.cache}})
	must(other.Start())
	eventually(t, "the download", func() bool { return w.partial(layer.Digest) >= 60_000 })
	done := make(chan outcome)
	go func() { done <- w.images(items...) }()
	eventually(t, "the other process", func() bool { return len(f.Matching(registry.Get("/manifests/sha256:"))) > 1 })
	must(other.Process.Kill())
	_ = other.Wait()
	(<-done).ok()
	w.has(layered)
	ranges(t, asked(f, layer.Digest), "-", "bytes=60000-")
}

// TestInterrupted checks that an interrupted job ends at once, keeps partial downloads, and returns the reason for each item.
func TestInterrupted(t *testing.T) {
	t.Parallel()
	layer := layered.Layers[0]
	f, name := serve(t, layered)
	f.On(registry.Blob(string(layer.Digest)).First(1), registry.Stall(60_000))
	w := newWorld(t)
	why := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		for w.partial(layer.Digest) < 60_000 && ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		cancel(why)
	}()
	o := childRequest{What: "images", Request: request.Request{Items: []request.Item{itemOf(layered, name)}, Options: w.options, Cache: w.cache}}
	began := time.Now()
	out := o.run(ctx)
	out.t = t
	out.failed("<name>: interrupted", "<name>", name+"@"+string(layered.Digest))
	if took := time.Since(began); took > w.options.StallTimeout/2 {
		t.Errorf("took %s", took)
	}
	w.nothing()
	if got := w.partial(layer.Digest); got != 60_000 {
		t.Errorf("%d bytes are kept, want 60000", got)
	}
}
