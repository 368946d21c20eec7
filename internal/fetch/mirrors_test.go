package fetch

import (
	"strings"
	"testing"

	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

// TestMirrorWithoutAPart checks that exactly what a mirror lacks, or has in another form, is fetched from the origin, with one
// log line.
func TestMirrorWithoutAPart(t *testing.T) {
	t.Parallel()
	list := images.NewList(images.Of(layered))
	parts := map[string]registry.Match{
		"list":     registry.Manifest(string(list.Digest)),
		"manifest": registry.Manifest(string(layered.Digest)),
		"layer":    registry.Blob(string(layered.Layers[0].Digest)),
		"config":   registry.Blob(string(layered.ID)),
	}
	const kind = "application/octet-stream"
	for fault, how := range map[string]registry.Fault{
		"missing":    registry.Error(404, "BLOB_UNKNOWN", "unknown"),
		"denied":     registry.Error(403, "DENIED", "denied"),
		"no login":   registry.Error(401, "UNAUTHORIZED", "who are you"),
		"throttled":  registry.Error(429, "TOOMANYREQUESTS", "slowly", "Retry-After", "3600"),
		"failing":    registry.Status(500, "upstream"),
		"wrong":      registry.Body(kind, []byte(strings.Repeat("x", 200_000))),
		"wrong JSON": registry.Body(kind, []byte("{}")),
		"empty":      registry.Body(kind, nil),
		"reset":      registry.Reset(),
	} {
		for part, at := range parts {
			t.Run(part+" "+fault, func(t *testing.T) {
				t.Parallel()
				origin, name := serve(t, list)
				mirror := sharedRegistry(t).Faults(t)
				mirror.On(at, how)
				w := newWorld(t).alone()
				w.options.Retries = 0 // another location is not a retry
				w.config(".config/containers/registries.conf", mirrored(origin.Addr, mirror.Addr))
				out := w.images(via(list, layered, name)).ok()
				w.has(layered)
				if len(origin.Matching(at)) == 0 {
					t.Error("the origin was not asked")
				}
				for other, at := range parts {
					if n := len(origin.Matching(at)); n > 0 && other != part && part != "list" {
						t.Errorf("the origin was asked for the %s, too", other)
					}
				}
				if n := strings.Count(out.Log, "; asking "+origin.Addr); n > 1 || n == 0 && !strings.Contains(out.Log, "attempt") && !strings.Contains(out.Log, "again") {
					t.Errorf("it is said %d times:\n%s", n, out.Log)
				}
			})
		}
	}
}

// TestMirrorBlobIsResumedAtOrigin checks that only the rest of a blob is requested from the origin after a mirror broke off twice
// or stalled.
func TestMirrorBlobIsResumedAtOrigin(t *testing.T) {
	t.Parallel()
	layer := layered.Layers[0]
	blob := registry.Blob(string(layer.Digest))
	for name, c := range map[string]struct {
		spoil          func(*registry.Faults)
		mirror, origin []string
	}{
		"breaks off once": {func(m *registry.Faults) { m.On(blob.First(1), registry.Truncate(40_000)) }, []string{"-", "bytes=40000-"}, nil},
		"breaks off": {
			func(m *registry.Faults) {
				m.On(blob.First(1), registry.Truncate(40_000))
				m.On(blob.From(2), registry.Truncate(10_000))
			},
			[]string{"-", "bytes=40000-"},
			[]string{"bytes=50000-"},
		},
		"breaks off, then does not have it": {
			func(m *registry.Faults) {
				m.On(blob.First(1), registry.Truncate(40_000))
				m.On(blob.From(2), registry.Status(404, ""))
			},
			[]string{"-", "bytes=40000-"},
			[]string{"bytes=40000-"},
		},
		"silent": {func(m *registry.Faults) { m.On(blob, registry.Silence()) }, []string{"-"}, []string{"-"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			origin, image := serve(t, layered)
			mirror := sharedRegistry(t).Faults(t)
			c.spoil(mirror)
			w := newWorld(t).alone()
			w.options.StallTimeout, w.options.HeaderTimeout, w.options.Retries = stall, stall, 0
			w.config(".config/containers/registries.conf", mirrored(origin.Addr, mirror.Addr))
			w.images(itemOf(layered, image)).ok()
			w.has(layered)
			ranges(t, asked(mirror, layer.Digest), c.mirror...)
			ranges(t, asked(origin, layer.Digest), c.origin...)
		})
	}
}

// TestMirrorTroubleThatPasses checks that a failing mirror is retried if the origin lacks the blob or denies access: the mirror's
// error is transient, the origin's is final.
func TestMirrorTroubleThatPasses(t *testing.T) {
	t.Parallel()
	blob := registry.Blob(string(layered.Layers[0].Digest))
	for trouble, spoil := range map[string]func(*registry.Faults){
		"breaks off": func(m *registry.Faults) {
			m.On(blob.First(1), registry.Truncate(40_000))
			m.On(blob.Nth(2), registry.Truncate(10_000))
		},
		"silent":  func(m *registry.Faults) { m.On(blob.First(1), registry.Silence()) },
		"failing": func(m *registry.Faults) { m.On(blob.First(1), registry.Status(503, "")) },
	} {
		for answer, fault := range map[string]registry.Fault{
			"denied": registry.Error(403, "DENIED", "denied"), "missing": registry.Error(404, "BLOB_UNKNOWN", "unknown"),
		} {
			t.Run(trouble+" "+answer, func(t *testing.T) {
				t.Parallel()
				origin, image := serve(t, layered)
				origin.On(blob, fault)
				mirror := sharedRegistry(t).Faults(t)
				spoil(mirror)
				w := newWorld(t).alone()
				w.options.StallTimeout, w.options.HeaderTimeout, w.options.Retries = stall, stall, 1
				w.config(".config/containers/registries.conf", mirrored(origin.Addr, mirror.Addr))
				w.images(itemOf(layered, image)).ok()
				w.has(layered)
				if len(origin.Matching(blob)) != 1 {
					t.Errorf("the origin was asked %d times, want once", len(origin.Matching(blob)))
				}
			})
		}
	}
}

// TestSilentMirror checks that an image is opened at the origin when a mirror stalls, and that a mirror that is down is not tried
// for each blob.
func TestSilentMirror(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]registry.Fault{"silent": registry.Silence(), "down": registry.Reset()} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			origin, image := serve(t, layered)
			mirror := sharedRegistry(t).Faults(t)
			mirror.On(registry.Any(""), fault)
			w := newWorld(t).alone()
			w.options.StallTimeout, w.options.HeaderTimeout, w.options.Retries = stall, stall, 0
			w.config(".config/containers/registries.conf", mirrored(origin.Addr, mirror.Addr))
			w.images(itemOf(layered, image)).ok()
			w.has(layered)
			if n := len(mirror.Matching(registry.Blob(""))); n > 0 {
				t.Errorf("the mirror was asked for %d blobs", n)
			}
		})
	}
}

// TestNeitherMirrorNorOrigin checks that an error contains the answer of each location.
func TestNeitherMirrorNorOrigin(t *testing.T) {
	t.Parallel()
	layer := registry.Blob(string(layered.Layers[0].Digest))
	origin, image := serve(t, layered)
	mirror := sharedRegistry(t).Faults(t)
	mirror.On(layer, registry.Error(403, "DENIED", "not for you"))
	origin.On(layer, registry.Error(404, "BLOB_UNKNOWN", "gone"))
	w := newWorld(t).alone()
	w.config(".config/containers/registries.conf", mirrored(origin.Addr, mirror.Addr))
	got := w.images(itemOf(layered, image)).Results[0].Error
	for _, want := range []string{origin.Addr, "gone", mirror.Addr, "not for you"} {
		if !strings.Contains(got, want) {
			t.Errorf("the error does not say %q: %s", want, got)
		}
	}
}

// TestMirrorThatWantsALoginForLayers checks that a token is renewed only once for a mirror that refuses each layer.
func TestMirrorThatWantsALoginForLayers(t *testing.T) {
	t.Parallel()
	var layers []images.Option
	for range 10 {
		layers = append(layers, images.Layer(1000))
	}
	img := images.New(layers...)
	origin, name := serve(t, img)
	mirror := sharedRegistry(t).Faults(t)
	mirror.On(registry.Get("/blobs/"), registry.Error(401, "UNAUTHORIZED", "who are you"))
	w := newWorld(t).alone()
	w.options.Retries = 0
	w.config(".config/containers/registries.conf", mirrored(origin.Addr, mirror.Addr))
	w.images(itemOf(img, name)).ok()
	w.has(img)
	if n := len(mirror.Matching(registry.Get("^/v2/$"))); n != 2 {
		t.Errorf("the mirror was contacted %d times, want 2", n)
	}
}
