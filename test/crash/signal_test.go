package crash_test

import (
	"syscall"
	"testing"
	"time"

	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

// promptly is how long a process may take to end after a signal: much less than the 30 s after which a download that stalls ends by
// itself, and much more than a busy machine needs.
const promptly = 15 * time.Second

// interrupt sends SIGINT and checks the result.
func interrupt(t testing.TB, r *run) {
	t.Helper()
	must(t, r.cmd.Process.Signal(syscall.SIGINT))
	if status, rep := r.wait(); status != 130 || rep.Success || rep.Error != "interrupted" {
		t.Errorf("exit status %d, reply %+v", status, rep)
	}
}

func TestSignalEndsItAndKeepsWhatCanBeContinued(t *testing.T) {
	for name, c := range map[string]struct {
		signal syscall.Signal
		status int
	}{
		"INT":  {syscall.SIGINT, 130},
		"TERM": {syscall.SIGTERM, 143},
	} {
		t.Run(name, func(t *testing.T) {
			img := images.New(images.Layer(2<<20), images.Layer(100_000))
			layer := registry.Blob(img.Layers[0].Digest.String())
			f, name := serve(t, img)
			const got = 1 << 20
			f.On(layer, registry.Stall(got))
			cache := newCache(t)
			r := start(t, skopeo, request(cache, name, img))
			waitFor(t, "half of it", func() bool { return partialBytesOf(cache, img.Layers[0]) >= got })
			began := time.Now()
			must(t, r.cmd.Process.Signal(c.signal))
			status, rep := r.wait()
			took := time.Since(began)
			if status != c.status || rep.Error != "interrupted" || len(rep.Results) != 1 || rep.Results[0].Success {
				t.Errorf("exit status %d, reply %+v", status, rep)
			}
			if took > promptly {
				t.Errorf("it took %v", took)
			}
			if verify(t, cache, img) != 0 {
				t.Error("something is published")
			}
			wantNothingLeft(t, cache, false)

			f.Reset()
			rest := fetch(t, skopeo, request(cache, name, img)).Results[0].Metadata
			if sent := f.BytesSent("/blobs/" + img.Layers[0].Digest.String()); sent != img.Layers[0].Size-got {
				t.Errorf("%d bytes were sent, want %d", sent, img.Layers[0].Size-got)
			}
			if rest.Reused < got {
				t.Errorf("reused are %d bytes, want %d", rest.Reused, got)
			}
			wantAll(t, cache, img)
		})
	}
}

// After a signal at any moment the process exits at once with the right status, or had completed.
func TestSignalAtAnyMoment(t *testing.T) {
	img := images.New(images.Layers(3, 400_000))
	f, name := serve(t, img)
	f.On(registry.Get("/blobs/"), registry.Drip(2<<20))
	cache := newCache(t)
	ended := map[int]int{}
	for pause := time.Duration(0); ended[0] == 0; pause += 15 * time.Millisecond {
		r := start(t, skopeo, request(cache, name, img))
		time.Sleep(pause)
		began := time.Now()
		_ = r.cmd.Process.Signal(syscall.SIGTERM) // may have exited
		status, _ := r.wait()
		if took := time.Since(began); took > promptly {
			t.Errorf("%v after the start: it took %v", pause, took)
		}
		if status != 0 && status != 143 && status != -1 { // -1: the signal came before the process handled it
			t.Errorf("%v after the start: exit status %d:\n%s", pause, status, r.log.String())
		}
		ended[status]++
		verify(t, cache, img)
		wantNothingLeft(t, cache, false)
	}
	t.Logf("exit statuses: %v", ended)
	wantAll(t, cache, img)
}
