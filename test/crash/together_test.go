package crash_test

import (
	"strings"
	"testing"
	"time"

	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

const waiting = "waiting for another process"

func TestEightProcessesFetchEachBlobOnce(t *testing.T) {
	t.Parallel()
	img := images.New(images.Layers(3, 1<<20), images.Layer(3000))
	f, name := serve(t, img)
	release := make(chan struct{})
	f.On(registry.Get("/blobs/"), registry.Hold(1000, release))
	cache := newCache(t)
	var runs []*run
	for range 8 {
		runs = append(runs, start(t, skopeo, request(cache, name, img)))
	}
	waitFor(t, "7 processes that wait for another", func() bool {
		waited := 0
		for _, r := range runs {
			if strings.Contains(r.log.String(), waiting) {
				waited++
			}
		}
		return waited >= 7
	})
	close(release)
	for _, r := range runs {
		r.good()
	}
	if sent := f.BytesSent("/blobs/"); sent != img.Size() {
		t.Errorf("%d bytes of %d were sent", sent, img.Size())
	}
	for _, l := range img.Layers {
		if n := len(f.Matching(registry.Blob(l.Digest.String()))); n != 1 {
			t.Errorf("%s was asked for %d times", l.Digest, n)
		}
	}
	wantAll(t, cache, img)
}

// The downloading process is killed, and so is the next one.
func TestAnotherProcessTakesOver(t *testing.T) {
	t.Parallel()
	img := images.New(images.Layer(3 << 20))
	layer := img.Layers[0]
	f, name := serve(t, img)
	blob := registry.Blob(layer.Digest.String())
	f.On(blob.Nth(1), registry.Stall(1<<20))
	f.On(blob.Nth(2), registry.Stall(1<<20)) // one more MiB
	cache := newCache(t)
	runs := []*run{start(t, skopeo, request(cache, name, img))}
	waitFor(t, "the download", func() bool { return partialBytesOf(cache, layer) >= 1<<20 })
	for range 7 {
		runs = append(runs, start(t, skopeo, request(cache, name, img)))
	}
	for _, r := range runs[1:] {
		r.says(waiting)
	}
	runs[0].kill()
	verify(t, cache, img)
	second := -1
	waitFor(t, "a process that takes over", func() bool {
		for i, r := range runs[1:] {
			if strings.Contains(r.log.String(), "resuming at") {
				second = i + 1
			}
		}
		return second > 0
	})
	waitFor(t, "more bytes", func() bool { return partialBytesOf(cache, layer) >= 2<<20 })
	runs[second].kill()
	verify(t, cache, img)
	for i, r := range runs {
		if i != 0 && i != second {
			r.good()
		}
	}
	if sent := f.BytesSent("/blobs/" + layer.Digest.String()); sent != layer.Size {
		t.Errorf("%d bytes of %d were sent", sent, layer.Size)
	}
	wantAll(t, cache, img)
}

// Two requests at the same time that share layers, each with one more layer.
func TestProcessesShareLayers(t *testing.T) {
	t.Parallel()
	common := images.New(images.Layers(2, 1<<20)).Layers
	one := images.New(images.Use(common...), images.Layer(200_000))
	two := images.New(images.Seed(1), images.Layer(300_000), images.Use(common[1], common[0]))
	f, name := serve(t, one, two)
	f.On(registry.Get("/blobs/"), registry.Drip(2<<20))
	cache := newCache(t)
	a, b := start(t, skopeo, request(cache, name, one)), start(t, skopeo, request(cache, name, two))
	a.good()
	b.good()
	want := one.Size() + two.Size() - common[0].Size - common[1].Size
	if sent := f.BytesSent("/blobs/"); sent != want {
		t.Errorf("%d bytes were sent, want %d", sent, want)
	}
	wantAll(t, cache, one, two)
}

// A process that waits for a stopped one can be interrupted.
func TestWaitingProcessCanBeInterrupted(t *testing.T) {
	img := images.New(images.Layer(1 << 20))
	f, name := serve(t, img)
	f.On(registry.Blob(img.Layers[0].Digest.String()), registry.Stall(1000))
	cache := newCache(t)
	first := start(t, skopeo, request(cache, name, img))
	waitFor(t, "the download", func() bool { return partialBytesOf(cache, img.Layers[0]) >= 1000 })
	second := start(t, skopeo, request(cache, name, img))
	second.says(waiting)
	began := time.Now()
	interrupt(t, second)
	if took := time.Since(began); took > promptly {
		t.Errorf("it took %v", took)
	}
	first.kill()
	verify(t, cache, img)
}
