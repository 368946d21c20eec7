package fetch

import (
	"fmt"
	"testing"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/request"
	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

// layered is an image with one layer that is large enough for faults.
var layered = images.New(images.Layer(100_000))

// asked returns the Range headers of the requests for a blob, "-" for none.
func asked(f *registry.Faults, d digest.Digest) []string {
	var got []string
	for _, r := range f.Matching(registry.Blob(string(d))) {
		if r.Range == "" {
			r.Range = "-"
		}
		got = append(got, r.Range)
	}
	return got
}

// TestRetriedAndRecovered pairs faults that end with the requests for the layer.
func TestRetriedAndRecovered(t *testing.T) {
	t.Parallel()
	layer := layered.Layers[0]
	blob := registry.Blob(string(layer.Digest))
	manifest := registry.Get("/manifests/")
	from := func(n int) string { return fmt.Sprintf("bytes=%d-", n) }
	for name, c := range map[string]struct {
		at     registry.Match
		faults []registry.Fault
		asked  []string // nil: once
		log    string
	}{
		"reset before the answer": {blob.First(1), []registry.Fault{registry.Reset()}, nil, ""},
		"reset in the body":       {blob.First(1), []registry.Fault{registry.ResetAfter(40_000)}, nil, "connection"},
		"body cut off":            {blob.First(1), []registry.Fault{registry.Truncate(40_000)}, []string{"-", from(40_000)}, "connection broke: unexpected EOF"},
		"body ends early, cleanly": {
			blob.First(1),
			[]registry.Fault{registry.TooShort(40_000)},
			[]string{"-", "-"},
			fmt.Sprintf("got 40000 bytes (application/octet-stream), want %d", layer.Size),
		},
		"no byte at all": {blob.First(1), []registry.Fault{registry.Truncate(0)}, []string{"-", "-"}, "attempt 1 of"},
		"cut off twice, 5 bytes apart": {
			blob.First(2), []registry.Fault{registry.Truncate(5)}, []string{"-", from(5), from(10)}, "attempt 2 of 4 failed",
		},
		"cut off, then no ranges": {
			blob.First(2), []registry.Fault{registry.IgnoreRange(), registry.Truncate(40_000)}, []string{"-", from(40_000), from(40_000)}, "starting again at 0 B",
		},
		"408": {blob.First(1), []registry.Fault{registry.Status(408, "")}, []string{"-", "-"}, "408"},
		"429": {blob.First(2), []registry.Fault{registry.Status(429, "")}, []string{"-", "-", "-"}, "429 Too Many Requests"},
		"500": {blob.First(2), []registry.Fault{registry.Status(500, "oh")}, []string{"-", "-", "-"}, "500 Internal Server Error"},
		"502": {blob.First(2), []registry.Fault{registry.Status(502, "<html>")}, []string{"-", "-", "-"}, "502 Bad Gateway"},
		"503": {blob.First(2), []registry.Fault{registry.Status(503, "<html>busy</html>")}, []string{"-", "-", "-"}, `503 Service Unavailable: "<html>busy</html>"`},
		"504": {blob.First(2), []registry.Fault{registry.Status(504, "")}, []string{"-", "-", "-"}, "504 Gateway Timeout"},

		"manifest: reset":   {manifest.First(2), []registry.Fault{registry.Reset()}, nil, "open: attempt 1 of"}, // net/http has tried once more
		"manifest: cut off": {manifest.First(1), []registry.Fault{registry.Truncate(100)}, nil, "open: attempt 1 of"},
		"manifest: 408":     {manifest.First(1), []registry.Fault{registry.Status(408, "")}, nil, "408"},
		"manifest: 500":     {manifest.First(2), []registry.Fault{registry.Error(500, "UNKNOWN", "unknown error")}, nil, "500"},
		"manifest: 502":     {manifest.First(2), []registry.Fault{registry.Status(502, "<html>")}, nil, "502 Bad Gateway"},
		"manifest: 503":     {manifest.First(2), []registry.Fault{registry.Status(503, "<html>")}, nil, "503 Service Unavailable"},
		"manifest: 504":     {manifest.First(2), []registry.Fault{registry.Status(504, "")}, nil, "504 Gateway Timeout"},
		"first contact: 503": {
			registry.Get("^/v2/$").First(2), []registry.Fault{registry.Status(503, "")}, nil, "503 Service Unavailable",
		},
		"first contact: reset": {registry.Get("^/v2/$").First(1), []registry.Fault{registry.Reset()}, nil, "open: attempt 1 of"},

		"digest wrong, once": {blob.First(1), []registry.Fault{registry.Flip(50_000)}, []string{"-", "-"}, "digest mismatch"},
		"too long, once":     {blob.First(1), []registry.Fault{registry.TooLong(10)}, []string{"-", "-"}, "size mismatch"},
		"endless, once":      {blob.First(1), []registry.Fault{registry.Endless()}, []string{"-", "-"}, "size mismatch"},
		"damaged, then cut off, then right": {
			blob.First(1), []registry.Fault{registry.Flip(10), registry.Truncate(40_000)}, []string{"-", from(40_000), "-"}, "digest mismatch",
		},

		// Wrong headers have no effect.
		"Docker-Content-Digest of the manifest": {manifest, []registry.Fault{registry.Header("Docker-Content-Digest", "sha256:0")}, nil, ""},
		"Docker-Content-Digest of the blob":     {blob, []registry.Fault{registry.Header("Docker-Content-Digest", string(layered.ID))}, nil, ""},
		"Content-Type of the manifest":          {manifest, []registry.Fault{registry.Header("Content-Type", images.DockerList)}, nil, ""},
		"Content-Type text/html":                {registry.Get("/(blobs|manifests)/"), []registry.Fault{registry.Header("Content-Type", "text/html; charset=x")}, nil, ""},
		"no Content-Type":                       {registry.Get("/(blobs|manifests)/"), []registry.Fault{registry.Header("Content-Type", "")}, nil, ""},
		"no Content-Length":                     {blob, []registry.Fault{registry.Header("Content-Length", "")}, nil, ""},
		"ETag of something else":                {blob, []registry.Fault{registry.Header("Etag", `"x"`)}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, name := serve(t, layered)
			f.On(c.at, c.faults...)
			w := newWorld(t)
			out := w.images(itemOf(layered, name)).ok().says(c.log)
			w.has(layered)
			if c.asked != nil {
				ranges(t, asked(f, layer.Digest), c.asked...)
			}
			if w.partial(layer.Digest) >= 0 {
				t.Error("a partial download is left")
			}
			failures := len(c.asked) - 1
			if m := out.Results[0].Metadata; c.asked != nil && m.Attempts != 1+failures {
				t.Errorf("%d attempts are reported, want %d", m.Attempts, 1+failures)
			}
		})
	}
}

// TestGivenUp pairs permanent faults with the error, and with the number of requests for the layer.
func TestGivenUp(t *testing.T) {
	t.Parallel()
	layer := layered.Layers[0]
	blob := registry.Blob(string(layer.Digest))
	manifest := registry.Get("/manifests/")
	const login = " (no credentials were sent: none are configured)\nlog in (podman login, REGISTRY_AUTH_FILE) or check that the account may read this repository"
	const gone = "\ncheck the name and whether the registry still has this digest"
	const damaged = "\nwhat is served is not what the manifest names: a proxy or the registry damages it, or the image was pushed badly"
	const trouble = "\nthe registry or the network is in trouble: try again later, or raise retries and timeout; what was downloaded is kept and used next time"
	html := "<!DOCTYPE html>\n<html><head><title>Busy</title></head>" + string(make([]byte, 100))
	for name, c := range map[string]struct {
		at     registry.Match
		faults []registry.Fault
		times  int // requests for the layer
		want   string
	}{
		"404": {blob, []registry.Fault{registry.Error(404, "BLOB_UNKNOWN", "blob unknown to registry")}, 1, "blob <layer>: blob unknown" + gone},
		"404 of no words": {
			blob, []registry.Fault{registry.Status(404, "")}, 1, "blob <layer>: 404 Not Found" + gone,
		},
		"404 HTML": {
			blob,
			[]registry.Fault{registry.Status(404, html)},
			1,
			`blob <layer>: 404 Not Found: "<!DOCTYPE html>\n<html><head><title>Busy</title></h..."` + gone,
		},
		"404 garbage": {
			blob, []registry.Fault{registry.Status(404, "\x1b[31m\x00\xff")}, 1, `blob <layer>: 404 Not Found: "\x1b[31m\x00\xff"` + gone,
		},
		"404 of several lines": {
			blob, []registry.Fault{registry.Status(404, `{"errors":[{"code":"NAME_UNKNOWN","message":"one\n\u001b[31mtwo"}]}`)}, 1, `blob <layer>: name unknown: one \x1b[31mtwo` + gone,
		},
		"400":      {blob, []registry.Fault{registry.Error(400, "NAME_INVALID", "no")}, 1, "blob <layer>: 400 Bad Request: no"},
		"410":      {blob, []registry.Fault{registry.Status(410, "")}, 1, "blob <layer>: 410 Gone"},
		"403":      {blob, []registry.Fault{registry.Error(403, "DENIED", "not for you")}, 2, "blob <layer>: 403 Forbidden: not for you" + login},
		"403 HTML": {blob, []registry.Fault{registry.Status(403, "<html>")}, 2, `blob <layer>: 403 Forbidden: "<html>"` + login},
		"401":      {blob, []registry.Fault{registry.Status(401, "")}, 2, "blob <layer>: authentication required" + login},
		"500":      {blob, []registry.Fault{registry.Status(500, "")}, 4, "blob <layer>: 500 Internal Server Error (gave up after 4 tries)" + trouble},
		"503 JSON": {
			blob,
			[]registry.Fault{registry.Error(503, "UNAVAILABLE", "down for repair")},
			4,
			"blob <layer>: 503 Service Unavailable: down for repair (gave up after 4 tries)" + trouble,
		},
		"reset": {blob, []registry.Fault{registry.Truncate(0)}, 4, "blob <layer>: connection broke: unexpected EOF (gave up after 4 tries)" + trouble},
		"digest wrong": {
			blob,
			[]registry.Fault{registry.Body("x", make([]byte, layer.Size))},
			2,
			fmt.Sprintf("blob <layer>: digest mismatch: got %s, want <layer>", digest.FromBytes(make([]byte, layer.Size))) + damaged,
		},
		"too long": {blob, []registry.Fault{registry.TooLong(1)}, 2, fmt.Sprintf("blob <layer>: size mismatch: got %d bytes (application/octet-stream), want %d", layer.Size+1, layer.Size) + damaged},
		"endless":  {blob, []registry.Fault{registry.Endless()}, 2, fmt.Sprintf("blob <layer>: size mismatch: got more than %d bytes, want %[1]d bytes", layer.Size) + damaged},
		"too short": {
			blob,
			[]registry.Fault{registry.IgnoreRange(), registry.TooShort(40_000)},
			2,
			fmt.Sprintf("blob <layer>: size mismatch: got 40000 bytes (application/octet-stream), want %d", layer.Size) + damaged,
		},
		"too short, of no length": {
			blob,
			[]registry.Fault{registry.IgnoreRange(), registry.TooShort(40_000), registry.Header("Content-Length", "")},
			4,
			fmt.Sprintf("blob <layer>: answer ended early: got 40000 bytes, want %d (gave up after 4 tries)", layer.Size) + trouble,
		},
		"redirect loop": {blob, []registry.Fault{registry.RedirectLoop()}, 10, "blob <layer>: redirected to <host>: stopped after 10 redirects"},

		"manifest: 404":           {manifest, []registry.Fault{registry.Error(404, "MANIFEST_UNKNOWN", "manifest unknown")}, 0, "read manifest: manifest unknown" + gone},
		"manifest: no repository": {manifest, []registry.Fault{registry.Error(404, "NAME_UNKNOWN", "repository name not known to registry")}, 0, "read manifest: name unknown" + gone},
		"manifest: 404 HTML":      {manifest, []registry.Fault{registry.Status(404, html)}, 0, `read manifest: 404 Not Found: "<!DOCTYPE html>\n<html><head><title>Busy</title></h..."` + gone},
		"manifest: 404 empty":     {manifest, []registry.Fault{registry.Status(404, "")}, 0, "read manifest: 404 Not Found" + gone},
		"manifest: 401":           {manifest, []registry.Fault{registry.Status(401, "")}, 0, "read manifest: authentication required" + login},
		"manifest: 403":           {manifest, []registry.Fault{registry.Error(403, "DENIED", "requested access to the resource is denied")}, 0, "read manifest: 403 Forbidden: requested access to the resource is denied" + login},
		"manifest: 500":           {manifest, []registry.Fault{registry.Status(500, "")}, 0, "read manifest: 500 Internal Server Error (gave up after 4 tries)" + trouble},
		"first contact: 404":      {registry.Get("^/v2/$"), []registry.Fault{registry.Status(404, "<html>")}, 0, `404 Not Found: "<html>"` + gone},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, name := serve(t, layered)
			f.On(c.at, c.faults...)
			w := newWorld(t)
			w.images(itemOf(layered, name)).failed("<name>: "+c.want, "<name>", name+"@"+string(layered.Digest), "<layer>", string(layer.Digest),
				"<host>", f.Addr)
			w.nothing()
			if got := len(asked(f, layer.Digest)); got != c.times {
				t.Errorf("the layer was asked for %d times, want %d", got, c.times)
			}
		})
	}
}

// TestStall checks that a connection that stalls is replaced, resuming where it stopped.
func TestStall(t *testing.T) {
	t.Parallel()
	layer := layered.Layers[0]
	blob := registry.Blob(string(layer.Digest))
	for name, c := range map[string]struct {
		at    registry.Match
		fault registry.Fault
		asked []string
		log   string
		says  string
	}{
		"blob, no answer":         {blob.First(1), registry.Silence(), []string{"-", "-"}, "layer 1/1", "no answer"},
		"blob, no byte":           {blob.First(1), registry.Stall(0), []string{"-", "-"}, "layer 1/1", "no byte"},
		"blob, in the middle":     {blob.First(1), registry.Stall(40_000), []string{"-", "bytes=40000-"}, "layer 1/1", "no byte"},
		"manifest, no answer":     {registry.Get("/manifests/").First(1), registry.Silence(), []string{"-"}, "open: attempt 1 of", "no answer"},
		"manifest, in the middle": {registry.Get("/manifests/").First(1), registry.Stall(10), []string{"-"}, "open: attempt 1 of", "no byte"},
		"first contact":           {registry.Get("^/v2/$").First(1), registry.Silence(), []string{"-"}, "open: attempt 1 of", "no answer"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, name := serve(t, layered)
			f.On(c.at, c.fault)
			w := newWorld(t)
			w.options.StallTimeout, w.options.HeaderTimeout = stall, stall
			w.images(itemOf(layered, name)).ok().says("stalled: "+c.says+" for "+stall.String(), c.log)
			w.has(layered)
			ranges(t, asked(f, layer.Digest), c.asked...)
		})
	}
}

// TestSlowIsNotStalled checks that slow data is progress: of a layer, of a manifest read at Open, and of one named by a list.
func TestSlowIsNotStalled(t *testing.T) {
	t.Parallel()
	var opts []images.Option
	for range 60 { // for a manifest of 9000 bytes
		opts = append(opts, images.Layer(10))
	}
	img := images.New(append(opts, images.Layer(9000))...)
	list := images.NewList(images.Of(img))
	for name, c := range map[string]struct {
		at   registry.Match
		item func(name string) request.Item
	}{
		"layer":    {registry.Blob(string(img.Layers[60].Digest)), func(name string) request.Item { return itemOf(img, name) }},
		"manifest": {registry.Get("/manifests/"), func(name string) request.Item { return itemOf(img, name) }},
		"instance": {registry.Manifest(string(img.Digest)), func(name string) request.Item { return via(list, img, name) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, name := serve(t, list)
			f.On(c.at, registry.Drip(3000))
			w := newWorld(t)
			w.options.StallTimeout = stall
			w.options.Timeout = stall
			w.images(c.item(name)).ok()
			if n := len(f.Matching(c.at)); n != 1 {
				t.Errorf("asked %d times", n)
			}
		})
	}
}
