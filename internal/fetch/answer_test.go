package fetch

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

// TestTheStatusDecides checks that the status decides whether an error is final, whatever code the body has, for every kind of
// request, and that the registry's message is shown.
func TestTheStatusDecides(t *testing.T) {
	t.Parallel()
	layer := layered.Layers[0]
	places := map[string]registry.Match{
		"registry": registry.Get("/v2/$"),
		"manifest": registry.Get("/manifests/"),
		"config":   registry.Blob(string(layered.ID)),
		"layer":    registry.Blob(string(layer.Digest)),
	}
	for status, times := range map[int]int{
		400: 1, 401: 2, 402: 1, 403: 2, 404: 1, 405: 1, 409: 1, 410: 1, 412: 1, 422: 1, 451: 1, 499: 1, 501: 1, 408: 3, 429: 3, 500: 3, 503: 3,
	} {
		for _, code := range []string{"SOMETHINGELSE", "UNAVAILABLE", "UNKNOWN", "DENIED"} {
			for place, at := range places {
				if code != "SOMETHINGELSE" && place != "layer" || place == "registry" && status == 401 { // a challenge
					continue
				}
				t.Run(fmt.Sprint(status, code, place), func(t *testing.T) {
					t.Parallel()
					f, name := serve(t, layered)
					f.On(at, registry.Error(status, code, "the words of the registry"))
					w := newWorld(t)
					w.options.Retries = 2
					out := w.images(itemOf(layered, name))
					if got := out.Results[0]; got.Success || !strings.Contains(got.Error, "the words of the registry") {
						t.Errorf("the result is %+v", got)
					}
					want := times
					if (place == "manifest" || place == "registry") && want == 2 { // each Open requests its own token
						want = 1
					}
					if n := len(f.Matching(at)); n != want {
						t.Errorf("it was asked for %d times, want %d\n%s", n, want, out.Log)
					}
				})
			}
		}
	}
}

// TestUnexpectedContent checks that an answer that is not a manifest or blob is reported, and requested at most once more.
func TestUnexpectedContent(t *testing.T) {
	t.Parallel()
	list := images.NewList(images.Of(layered))
	layer := layered.Layers[0]
	page := "<html><body>Please log in to the guest network</body></html>"
	errorText := `{"errors":[{"code":"MANIFEST_UNKNOWN","message":"it is gone"}]}`
	chunked := func(kind, body string) registry.Fault {
		return registry.Handle(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			_, _ = w.Write([]byte(body))
		}))
	}
	for name, c := range map[string]struct {
		fault registry.Fault
		says  []string
	}{
		"page":             {registry.Body("text/html; charset=utf-8", []byte(page)), []string{"got text/html, not ", "Please log in to the guest network"}},
		"page, no length":  {chunked("text/html", page), []string{"got text/html, not ", "guest network"}},
		"page, no type":    {registry.Body("application/octet-stream", []byte(" \n"+page)), []string{"not ", "guest network"}},
		"error":            {registry.Body("application/json", []byte(errorText)), []string{"got an error with status 200, not ", "it is gone"}},
		"error, no length": {chunked("application/json", errorText), []string{"got an error with status 200, not ", "it is gone"}},
		"text":             {registry.Body("text/plain", []byte("no")), []string{"got 2 bytes (text/plain)"}},
		"cut off":          {registry.TooShort(100), []string{"got 100 bytes ("}},
	} {
		for place, at := range map[string]registry.Match{
			"list":     registry.Manifest(string(list.Digest)),
			"manifest": registry.Manifest(string(layered.Digest)),
			"config":   registry.Blob(string(layered.ID)),
			"layer":    registry.Blob(string(layer.Digest)),
		} {
			t.Run(name+", "+place, func(t *testing.T) {
				t.Parallel()
				f, addr := serve(t, list)
				f.On(at, c.fault)
				w := newWorld(t)
				w.options.Retries = 5
				item := via(list, layered, addr)
				out := w.images(item)
				got := out.Results[0]
				for _, text := range c.says {
					if got.Success || !strings.Contains(got.Error, text) {
						t.Errorf("the result is %+v, want %q", got, text)
					}
				}
				if n := len(f.Matching(at)); n > 2 {
					t.Errorf("it was asked for %d times\n%s", n, out.Log)
				}
			})
		}
	}
}
