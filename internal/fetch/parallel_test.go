package fetch

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"osbuild-containers/internal/request"
	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

// TestOneLimit checks that all items together use exactly max-parallel downloads.
func TestOneLimit(t *testing.T) {
	t.Parallel()
	for _, limit := range []int{1, 3} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			t.Parallel()
			all := []images.Entry{images.New(images.Layers(4, 100)), images.New(images.Layers(4, 200)), images.New(images.Layers(4, 300))}
			f, name := serve(t, all...)
			var mu sync.Mutex
			running, most := 0, 0
			reached := make(chan struct{})
			count := func(n int) {
				mu.Lock()
				defer mu.Unlock()
				if running += n; running > most {
					if most = running; most == limit {
						close(reached)
					}
				}
			}
			f.On(registry.Get("/blobs/"), func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					count(1)
					select {
					case <-reached:
					case <-r.Context().Done():
					}
					time.Sleep(20 * time.Millisecond) // time for more
					count(-1)                         // before the answer, after which the client continues
					next.ServeHTTP(w, r)
				})
			})
			w := newWorld(t)
			w.options.MaxParallel = limit
			var items []request.Item
			for _, e := range all {
				items = append(items, itemOf(e.(*images.Image), name))
			}
			w.images(items...).ok()
			mu.Lock()
			defer mu.Unlock()
			if most != limit {
				t.Errorf("%d downloads ran at one time, want %d", most, limit)
			}
		})
	}
}

// TestWaitingIsNotIdle checks that the time an item waits for other downloads does not count against its timeout.
func TestWaitingIsNotIdle(t *testing.T) {
	t.Parallel()
	slow, img := images.New(images.Layers(2, 12_000)), images.New(images.Layer(100))
	f, name := serve(t, slow, img)
	for _, l := range slow.Layers {
		f.On(registry.Blob(string(l.Digest)), registry.Drip(3000))
	}
	f.On(registry.Manifest(string(img.Digest)), registry.Delay(500*time.Millisecond))
	f.On(registry.Blob(string(img.Layers[0].Digest)).First(1), registry.Status(503, ""))
	w := newWorld(t)
	w.options.MaxParallel, w.options.Timeout = 2, 3*time.Second
	w.images(itemOf(slow, name), itemOf(img, name)).ok()
	w.has(img)
}

// TestTokenExpiresAgain checks that a token is renewed as often as the previous one brought bytes.
func TestTokenExpiresAgain(t *testing.T) {
	t.Parallel()
	reg := registry.Start(t, registry.Token(user, password, time.Minute))
	layered.Push(t, reg.URL, "a/b", images.Via(reg.Client()))
	f := reg.Faults(t)
	layer := layered.Layers[0].Digest
	blob := registry.Blob(string(layer))
	for _, n := range []int{1, 3, 5} {
		f.On(blob.Nth(n), registry.Status(401, ""))
		f.On(blob.Nth(n+1), registry.Truncate(30_000))
	}
	w := newWorld(t).alone()
	w.secrets = secretsOf(user, password)
	w.config("run/containers/auth.json", login(f.Addr, user, password))
	w.images(itemOf(layered, f.Addr+"/a/b")).ok()
	w.has(layered)
	ranges(t, asked(f, layer), "-", "-", "bytes=30000-", "bytes=30000-", "bytes=60000-", "bytes=60000-", "bytes=90000-")
}

// TestEndlessError checks that the body of an error is not read without a limit.
func TestEndlessError(t *testing.T) {
	t.Parallel()
	for _, code := range []int{404, 500} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			t.Parallel()
			f, name := serve(t, layered)
			var sent atomic.Int64
			f.On(registry.Blob(string(layered.Layers[0].Digest)), registry.Handle(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(code)
				chunk := make([]byte, 64<<10)
				for sent.Load() < 1<<30 {
					n, err := w.Write(chunk)
					sent.Add(int64(n))
					if err != nil {
						return
					}
				}
			})))
			w := newWorld(t)
			w.options.Retries = 0
			if out := w.images(itemOf(layered, name)); out.Results[0].Success {
				t.Error("succeeded")
			}
			if n := sent.Load(); n > 32<<20 { // what the buffers of the connection hold
				t.Errorf("%d bytes were read", n)
			}
		})
	}
}
