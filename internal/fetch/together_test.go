package fetch

import (
	"context"
	"errors"
	"strings"
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
	f.On(registry.Blob(string(layered.Layers[0].Digest)), registry.Drip(200_000))
	w := newWorld(t).alone()
	outs := make([]outcome, 3)
	var wg sync.WaitGroup
	for i := range outs {
		wg.Go(func() { outs[i] = w.images(itemOf(layered, name)) })
	}
	wg.Wait()
	waited := 0
	for _, out := range outs {
		out.ok()
		if strings.Contains(out.Log, "layer 1/1 "+progress.Short(string(layered.Layers[0].Digest))+" 101.9 kB: waiting for another process") {
			waited++
		}
	}
	w.has(layered)
	if waited == 0 {
		t.Errorf("no process said that it waits:\n%s", outs[0].Log+outs[1].Log+outs[2].Log)
	}
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
	for deadline := time.Now().Add(30 * time.Second); w.partial(layer.Digest) < 60_000; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the download did not begin")
		}
	}
	done := make(chan outcome)
	go func() { done <- w.images(items...) }()
	for deadline := time.Now().Add(30 * time.Second); len(f.Matching(registry.Get("/manifests/sha256:"))) < 2 && time.Now().Before(deadline); {
		time.Sleep(5 * time.Millisecond)
	}
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
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("took %s", took)
	}
	w.nothing()
	if got := w.partial(layer.Digest); got != 60_000 {
		t.Errorf("%d bytes are kept, want 60000", got)
	}
}
