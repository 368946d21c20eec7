package pin

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/image"
	"osbuild-containers/internal/request"
	"osbuild-containers/test/home"
	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

// TestMain isolates the tests from the machine's configuration.
func TestMain(m *testing.M) {
	if image.Reexec() {
		return
	}
	os.Exit(home.Run(m))
}

// world is a real registry behind a proxy that counts and breaks requests, and the log.
type world struct {
	t   *testing.T
	reg *registry.Registry
	*registry.Faults
	*Resolver

	mu    sync.Mutex
	notes []string
}

func newWorld(t *testing.T, opts ...registry.Option) *world {
	t.Helper()
	w := &world{t: t, reg: registry.Start(t, opts...)}
	w.Faults = w.reg.Faults(t)
	w.Resolver = &Resolver{Options: request.DefaultOptions(), Note: w.note}
	w.conf("")
	return w
}

func (w *world) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.notes = append(w.notes, fmt.Sprintf(format, args...))
}

// conf maps registry.example and mirror.example to the proxy in registries.conf, with additional settings.
func (w *world) conf(more string) {
	w.t.Helper()
	path := filepath.Join(w.t.TempDir(), "registries.conf")
	text := fmt.Sprintf("[[registry]]\nprefix = \"registry.example\"\nlocation = \"%s\"\ninsecure = true\n", w.Addr)
	if err := os.WriteFile(path, []byte(text+more), 0o644); err != nil {
		w.t.Fatal(err)
	}
	w.t.Setenv("CONTAINERS_REGISTRIES_CONF", path)
	w.Access = request.Access{TLSVerify: true}
}

// push pushes an image or list as registry.example/<name>.
func (w *world) push(name string, e images.Entry) {
	w.t.Helper()
	if err := images.Push(e, w.reg.URL, name, images.Via(w.reg.Client())); err != nil {
		w.t.Fatal(err)
	}
}

// want returns a Wanted.
func (w *world) want(text string, arches ...string) Wanted {
	w.t.Helper()
	ref, err := ParseReference(w.Access, text)
	if err != nil {
		w.t.Fatal(err)
	}
	wanted := Wanted{Reference: ref}
	for _, arch := range arches {
		p, err := ParsePlatform(arch)
		if err != nil {
			w.t.Fatal(err)
		}
		wanted.Platforms = append(wanted.Platforms, p)
	}
	return wanted
}

// pin resolves one reference, and fails the test on an error.
func (w *world) pin(text string, arches ...string) []Image {
	w.t.Helper()
	got, err := w.Resolve(w.t.Context(), []Wanted{w.want(text, arches...)})
	if err != nil {
		w.t.Fatal(err)
	}
	return got
}

// refuse resolves one reference and compares the error, in which ADDR is the proxy's address.
func (w *world) refuse(want, text string, arches ...string) {
	w.t.Helper()
	got, err := w.Resolve(w.t.Context(), []Wanted{w.want(text, arches...)})
	if err == nil {
		w.t.Errorf("%s %q is pinned: %+v", text, arches, got)
	} else if msg := strings.ReplaceAll(hint.Text(err, hint.Flags), w.Addr, "ADDR"); msg != want {
		w.t.Errorf("%s %q\ngot  %s\nwant %s", text, arches, msg, want)
	}
}

// isPinned compares a pin with an image.
func isPinned(t *testing.T, got *Image, img *images.Image, list *images.List) {
	t.Helper()
	if got.Manifest != img.Digest || got.ID != img.ID || len(got.Layers) != len(img.Layers) {
		t.Errorf("pinned %+v, want manifest %s, id %s", got, img.Digest, img.ID)
	}
	if list == nil && got.List != "" || list != nil && got.List != list.Digest {
		t.Errorf("pinned list %q, want that of %v", got.List, list)
	}
	for n, l := range got.Layers {
		if l.Digest != img.Layers[n].Digest || l.Size != img.Layers[n].Size {
			t.Errorf("layer %d is %+v, want %s, %d bytes", n, l, img.Layers[n].Digest, img.Layers[n].Size)
		}
	}
}

// arch returns an image for an architecture, written arch[/variant].
func arch(name string, opts ...images.Option) *images.Image {
	name, variant, _ := strings.Cut(name, "/")
	return images.New(append([]images.Option{images.Arch(name), images.Variant(variant), images.Layer(100)}, opts...)...)
}
