package registry

import (
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"osbuild-containers/internal/retry"
	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

// TestEndlessErrors checks that only the beginning of an endless error is read, even if it is the first answer.
func TestEndlessErrors(t *testing.T) {
	img := images.New(images.Layer(10))
	for name, c := range map[string]struct {
		at     registry.Match
		status int
		opts   []registry.Option
		opens  bool // the image opens, one of its blobs fails
	}{
		"first contact":     {registry.Get("^/v2/$"), http.StatusNotFound, nil, false},
		"manifest":          {registry.Get("/manifests/"), http.StatusNotFound, nil, false},
		"manifest, denied":  {registry.Get("/manifests/"), http.StatusForbidden, nil, false},
		"manifest over TLS": {registry.Get("/manifests/"), http.StatusNotFound, []registry.Option{registry.TLS()}, false},
		"blob":              {registry.Get("/blobs/"), http.StatusNotFound, nil, true},
	} {
		t.Run(name, func(t *testing.T) {
			f := registry.NewFaults(t, img.Handler(), c.opts...)
			var sent atomic.Int64
			f.On(c.at, registry.Handle(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(c.status)
				chunk := make([]byte, 32<<10)
				for n := 0; n < 512<<20; n += len(chunk) {
					if _, err := w.Write(chunk); err != nil {
						return
					}
					sent.Add(int64(len(chunk)))
					time.Sleep(100 * time.Microsecond) // about the speed of a fast network
				}
			})))
			src, err := Open(t.Context(), Image{Name: f.Addr + "/a/b", Pinned: img.Digest})
			if c.opens {
				if err != nil {
					t.Fatal(err)
				}
				defer src.Close()
				_, _, err = src.Blob(t.Context(), descriptor(img.Layers[0]), 0)
			}
			if err == nil {
				t.Errorf("error is %v", err)
			}
			if class, _ := Classify(err); class == retry.Transient {
				t.Error("it would be tried again")
			}
			if n := sent.Load(); n > maxResponses {
				t.Errorf("%d bytes were read", n)
			}
		})
	}
}
