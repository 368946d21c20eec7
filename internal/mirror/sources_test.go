package mirror

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

// A blob that is damaged or unavailable on mirrors of the registry is read from the registry.
func TestBadMirrorsOfTheRegistry(t *testing.T) {
	img := images.New(images.Layer(2000))
	layer := img.Layers[0]
	for name, fault := range map[string]registry.Fault{
		"wrong": registry.Flip(100),
		"empty": registry.Truncate(0),
		"gone":  registry.Status(404, ""),
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.push("app:v1", img)
			pins := w.pins("any", "registry.example/app:v1")
			conf := fmt.Sprintf("[[registry]]\nprefix = \"registry.example\"\nlocation = %q\ninsecure = true\n", w.from.Addr)
			var bad []*registry.Faults
			for range 3 {
				m := w.origin.Faults(t)
				m.On(registry.Blob(string(layer.Digest)), fault)
				conf += fmt.Sprintf("[[registry.mirror]]\nlocation = %q\ninsecure = true\n", m.Addr)
				bad = append(bad, m)
			}
			path := filepath.Join(t.TempDir(), "registries.conf")
			if err := os.WriteFile(path, []byte(conf), 0o644); err != nil {
				t.Fatal(err)
			}
			t.Setenv("CONTAINERS_REGISTRIES_CONF", path)
			w.opts.Tries.Retries = 0 // using another location is not a retry
			w.copy(pins)
			w.hasBlobs("app", img)
			for n, m := range bad {
				if len(m.Matching(registry.Blob(string(layer.Digest)))) == 0 {
					t.Errorf("mirror %d was not asked", n)
				}
			}
			if n := strings.Count(w.log.String(), "; asking "+w.from.Addr); n != 1 {
				t.Errorf("the log does not say once where the layer came from:\n%s", &w.log)
			}
		})
	}
}

// TestTroubledMirrorOfAnUnsignedImage checks that the registry decides whether an image has signatures, whatever the state of its
// mirrors.
func TestTroubledMirrorOfAnUnsignedImage(t *testing.T) {
	img := images.New(images.Layer(2000))
	signatures := registry.Manifest(strings.Replace(string(img.Digest), ":", "-", 1) + ".sig")
	for name, fault := range map[string]registry.Fault{"failing": registry.Status(503, ""), "silent": registry.Silence()} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.push("app:v1", img)
			pins := w.pins("any", "registry.example/app:v1")
			m := w.origin.Faults(t)
			m.On(signatures, fault)
			path := filepath.Join(t.TempDir(), "registries.conf")
			if err := os.WriteFile(path, fmt.Appendf(nil, "[[registry]]\nprefix = \"registry.example\"\nlocation = %q\ninsecure = true\n"+
				"[[registry.mirror]]\nlocation = %q\ninsecure = true\n", w.from.Addr, m.Addr), 0o644); err != nil {
				t.Fatal(err)
			}
			t.Setenv("CONTAINERS_REGISTRIES_CONF", path)
			w.opts.Tries.StallTimeout, w.opts.Tries.HeaderTimeout = 2*time.Second, 2*time.Second
			w.copy(pins)
			if n := len(m.Matching(signatures)); n != 1 {
				t.Errorf("the mirror was asked for signatures %d times, want once", n)
			}
		})
	}
}
