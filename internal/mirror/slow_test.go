package mirror

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

// A blob from a registry without ranges is read again from its beginning, while the upload to the mirror continues.
func TestAnOriginWithoutRanges(t *testing.T) {
	for name, fault := range map[string]registry.Fault{"ignored": registry.IgnoreRange(), "refused": registry.RangeNotSatisfiable()} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			app := images.New(images.Layer(300_000))
			w.push("app:v1", app)
			pins := w.pins("any", "registry.example/app:v1")
			blob := registry.Blob(app.Layers[0].Digest.String())
			w.from.On(blob.First(1), registry.ResetAfter(100_000))
			w.from.On(blob, fault)
			w.copy(pins)
			w.hasBlobs("app", app)
			if n := len(w.sent()); n != 2 { // the layer and the config
				t.Errorf("there were %d uploads, want 2", n)
			}
		})
	}
}

// A stalled upload is restarted; while the origin stalls and is reconnected, the upload waits.
func TestConnectionsThatHang(t *testing.T) {
	w := newWorld(t)
	app := images.New(images.Layer(32 << 20)) // more than sockets buffer
	w.push("app:v1", app)
	pins := w.pins("any", "registry.example/app:v1")
	w.opts.Tries.StallTimeout, w.opts.Tries.HeaderTimeout = time.Second, time.Second
	layer := app.Layers[0].Digest.String()
	w.to.On(registry.Method(http.MethodPatch, "").First(2), registry.Silence())
	w.from.On(registry.Blob(layer).First(3), registry.Stall(1<<20))
	w.copy(pins)
	w.hasBlobs("app", app)
	if n := strings.Count(w.log.String(), "stalled: no "); n < 5 {
		t.Errorf("the log tells of %d connections that hung, want 5:\n%s", n, &w.log)
	}
}
