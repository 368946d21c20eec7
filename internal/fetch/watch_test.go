package fetch

import (
	"strings"
	"testing"
	"time"

	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

// TestSlowAnswers checks that an answer that starts late, as from a pull-through cache, is not a stall before the header timeout.
func TestSlowAnswers(t *testing.T) {
	t.Parallel()
	layer := layered.Layers[0]
	for name, at := range map[string]registry.Match{
		"first contact": registry.Get("^/v2/$").First(1),
		"manifest":      registry.Get("/manifests/").First(1),
		"config":        registry.Blob(string(layered.ID)).First(1),
		"layer":         registry.Blob(string(layer.Digest)).First(1),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, name := serve(t, layered)
			f.On(at, registry.Delay(stall+time.Second))
			w := newWorld(t)
			w.options.StallTimeout, w.options.Retries = stall, 0
			w.images(itemOf(layered, name)).ok()
		})
	}
}

// TestTooSlowIsAStall checks that less than the lowest rate is not progress, for documents and blobs.
func TestTooSlowIsAStall(t *testing.T) {
	t.Parallel()
	list := images.NewList(images.Of(layered))
	layer := layered.Layers[0]
	for name, at := range map[string]registry.Match{
		"layer":    registry.Blob(string(layer.Digest)),
		"manifest": registry.Manifest(string(list.Digest)),
		"instance": registry.Manifest(string(layered.Digest)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, addr := serve(t, list)
			f.On(at, registry.Drip(20))
			w := newWorld(t)
			w.options.StallTimeout, w.options.Retries = stall, 0
			out := w.images(via(list, layered, addr))
			if got := out.Results[0]; got.Success || !strings.Contains(got.Error, "stalled: less than 1024 bytes a second for "+stall.String()) {
				t.Errorf("the result is %+v\n%s", got, out.Log)
			}
		})
	}
}

// TestSlowTokenIsAStall is the same for a token.
func TestSlowTokenIsAStall(t *testing.T) {
	t.Parallel()
	reg := registry.Start(t, registry.Token("", "", time.Minute))
	layered.Push(t, reg.URL, "a/b", images.Via(reg.Client()))
	reg.Token.On(registry.Any("/token"), registry.Drip(20))
	w := newWorld(t)
	w.options.StallTimeout, w.options.Retries = stall, 0
	out := w.images(itemOf(layered, reg.Addr+"/a/b"))
	if got := out.Results[0]; got.Success || !strings.Contains(got.Error, "stalled: less than 1024 bytes a second for "+stall.String()) {
		t.Errorf("the result is %+v\n%s", got, out.Log)
	}
}
