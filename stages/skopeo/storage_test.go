package skopeo

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/image/input"
	"osbuild-containers/internal/request"
	"osbuild-containers/test/images"
	"osbuild-containers/test/inputs"
	"osbuild-containers/test/store"
)

func storageOptions(driver string) map[string]any {
	return object{"destination": object{"type": toStorage, "storage-driver": driver}}
}

func rootOf(a *inputs.Arguments) string { return filepath.Join(a.Tree, "var/lib/containers/storage") }

// drivers runs a test with both drivers, overlay only for root.
func drivers(t *testing.T, test func(t *testing.T, driver string)) {
	for _, driver := range []string{"overlay", "vfs"} {
		t.Run(driver, func(t *testing.T) {
			if driver == "overlay" {
				store.NeedOverlay(t, t.TempDir())
			}
			test(t, driver)
		})
	}
}

// TestStorageHoldsTheImages reads all images back: layers are the same archives, bit for bit.
func TestStorageHoldsTheImages(t *testing.T) {
	drivers(t, func(t *testing.T, driver string) {
		one := small(1)
		two := images.New(images.Seed(2), images.Use(one.Layers[:2]...), images.LayerAs(images.Zstd, 900), images.LayerAs(images.Plain, 10))
		docker := images.New(images.Seed(3), images.Docker(), images.Layer(40))
		three := images.New(images.Docker(), images.Use(docker.Layers[0], docker.Layers[0])) // a layer on itself
		a := inputs.New(t)
		a.Dir(t, "localhost/one:v1", one)
		a.Dir(t, "my.test/some/two", two)
		a.Archive(t, "three:v3", three)
		a.Options = storageOptions(driver)
		succeed(t, a)
		got := records(t, rootOf(a), driver)
		for name, img := range map[string]*images.Image{"localhost/one:v1": one, "my.test/some/two:latest": two, "docker.io/library/three:v3": three} {
			if r := got[name]; r.ID != img.ID.Encoded() || r.Digest != img.Digest.String() {
				t.Errorf("%s is %+v", name, r)
			}
			in := request.InputImage{Path: rootOf(a), Key: img.ID.String(), Format: request.FormatContainersStorage, Name: name}
			opened, err := input.Open(t.Context(), in)
			if err != nil {
				t.Error(err)
				continue
			}
			for i, l := range opened.Manifest().Layers {
				if l.Digest != img.Layers[i].DiffID {
					t.Errorf("%s: layer %d is %s, want %s", name, i, l.Digest, img.Layers[i].DiffID)
				}
				r, err := opened.Blob(t.Context(), l)
				if err != nil {
					t.Fatal(err)
				}
				var b bytes.Buffer
				if _, err := b.ReadFrom(r); err != nil || digest.FromBytes(b.Bytes()) != l.Digest {
					t.Errorf("%s: layer %d comes out as something else: %v", name, i, err)
				}
				r.Close()
			}
			if err := opened.Close(); err != nil {
				t.Error(err)
			}
		}
		if len(got) != 3 {
			t.Errorf("names %v", got)
		}
	})
}

// TestListsAreKept writes two images of one list, and an image of two lists.
func TestListsAreKept(t *testing.T) {
	drivers(t, func(t *testing.T, driver string) {
		amd, arm, other := small(1), small(2, images.Arch("arm64")), small(3)
		shared := images.NewList(images.Of(amd, arm))
		second := images.NewList(images.Of(amd), images.Docker())
		a := inputs.New(t)
		a.Dir(t, "localhost/amd:v1", amd)
		a.Dir(t, "localhost/arm:v1", arm)
		a.Dir(t, "localhost/other:v1", other)
		a.List(t, shared)
		a.List(t, second)
		a.Options = storageOptions(driver)
		succeed(t, a)
		got := records(t, rootOf(a), driver)
		for name, want := range map[string][]string{
			"localhost/amd:v1":   {shared.Digest.String(), second.Digest.String(), amd.Digest.String()},
			"localhost/arm:v1":   {shared.Digest.String(), arm.Digest.String()},
			"localhost/other:v1": {other.Digest.String()},
		} {
			for _, d := range want {
				if !strings.Contains(fmt.Sprint(got[name].BigData), "manifest-"+d) {
					t.Errorf("%s has %v, not %s", name, got[name].BigData, d)
				}
			}
			if len(got[name].BigData) != len(want)+2 {
				t.Errorf("%s has %v", name, got[name].BigData)
			}
		}
	})
}

func TestListsThatAreRefused(t *testing.T) {
	img, stranger := small(1), small(2)
	for name, c := range map[string]struct {
		list *images.List
		want string
	}{
		"of other images": {images.NewList(images.Of(stranger)), "failed: manifest lists that name none of the images: sha256:"},
		"an image":        {&images.List{Digest: img.Digest, Raw: img.Raw}, "not a manifest list, but the manifest of an image"},
		"damaged":         {&images.List{Digest: img.Digest, Raw: []byte("{}")}, "digest mismatch: got sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},
	} {
		a := inputs.New(t)
		a.Dir(t, "localhost/x", img)
		a.List(t, images.NewList(images.Of(img)))
		a.List(t, c.list)
		a.Options = storageOptions("vfs")
		code, log := call(t, a)
		if entries, _ := os.ReadDir(a.Tree); code != 1 || !strings.Contains(log, c.want) || len(entries) != 0 {
			t.Errorf("%s: exit status %d, %d entries in the tree: %s", name, code, len(entries), log)
		}
	}
}

// TestStoragesAreReproducible writes the same images twice, one of them with all that gets no time from its layer, and compares the
// trees.
func TestStoragesAreReproducible(t *testing.T) {
	drivers(t, func(t *testing.T, driver string) {
		var first string
		for range 2 {
			a := inputs.New(t)
			a.Dir(t, "localhost/one:v1", small(1), "a signature")
			a.Dir(t, "localhost/two:v1", images.New(images.Seed(2), images.Layer(10), images.Files(), images.Files(
				images.File{Name: "./"}, images.File{Name: ".wh.gone"}, images.File{Name: "not/named/.wh.gone"},
				images.File{Name: "other/.wh..wh..opq"}, images.File{Name: "link", Link: "/not/named"}, images.File{Name: "link/through/file"},
			)))
			a.Options, a.Epoch = storageOptions(driver), epoch
			succeed(t, a)
			got := listing(t, a.Tree)
			if first == "" {
				first = got
			}
			if got != first {
				t.Errorf("got\n%s\nand\n%s", first, got)
			}
			mounts, err := os.ReadFile("/proc/self/mountinfo")
			if err != nil || strings.Contains(string(mounts), a.Tree) {
				t.Errorf("something is mounted in the tree: %v", err)
			}
			for _, name := range []string{"staging", "backingFsBlockDev", "tempdirs", "/tmp ", "mounts"} {
				if strings.Contains(got, name) {
					t.Errorf("there is %q in\n%s", name, got)
				}
			}
		}
	})
}

// TestStorageIsAddedTo writes to a storage with images: these stay, layers are not written again, and a name moves.
func TestStorageIsAddedTo(t *testing.T) {
	drivers(t, func(t *testing.T, driver string) {
		one := small(1)
		two := images.New(images.Seed(2), images.Use(one.Layers...), images.Layer(70))
		a := inputs.New(t)
		a.Dir(t, "localhost/x:v1", one)
		a.Options, a.Epoch = storageOptions(driver), epoch
		succeed(t, a)
		b := inputs.New(t)
		b.Tree, b.Options, b.Epoch = a.Tree, a.Options, epoch
		b.Dir(t, "localhost/x:v1", two)
		b.Dir(t, "localhost/again:v1", one)
		code, log := call(t, b)
		if code != 0 || strings.Count(log, "layer ") != 1 || !strings.Contains(log, "layer 4/4") {
			t.Errorf("exit status %d: %s", code, log)
		}
		got := records(t, rootOf(a), driver)
		if got["localhost/x:v1"].ID != two.ID.Encoded() || got["localhost/again:v1"].ID != one.ID.Encoded() || len(got) != 2 {
			t.Errorf("got %v", got)
		}
	})
}

// TestTimesOfTheFutureStay has a file newer than the run: its time is the layer's and is kept.
func TestTimesOfTheFutureStay(t *testing.T) {
	drivers(t, func(t *testing.T, driver string) {
		future := time.Unix(4_000_000_000, 0)
		var plain bytes.Buffer
		w := tar.NewWriter(&plain)
		must(t, w.WriteHeader(&tar.Header{Name: "directory/file", Typeflag: tar.TypeReg, Mode: 0o644, ModTime: future}))
		must(t, w.Close())
		d := digest.FromBytes(plain.Bytes())
		a := inputs.New(t)
		a.Dir(t, "localhost/x:v1", images.New(images.Use(images.LayerInfo{Digest: d, DiffID: d, Size: int64(plain.Len()), Blob: plain.Bytes()})))
		a.Options, a.Epoch = storageOptions(driver), epoch
		succeed(t, a)
		for pattern, want := range map[string]time.Time{"directory/file": future, "directory": time.Unix(epoch, 0)} {
			found, _ := filepath.Glob(filepath.Join(rootOf(a), driver, "*", "*"+d.Encoded()[:8]+"*", pattern)) // vfs/dir/ID
			if driver == "overlay" {
				found, _ = filepath.Glob(filepath.Join(rootOf(a), "overlay/*/diff", pattern))
			}
			if len(found) != 1 {
				t.Fatalf("%s: %v", pattern, found)
			}
			if info, err := os.Stat(found[0]); err != nil || !info.ModTime().Equal(want) {
				t.Errorf("%s: %v, %v, want %v", pattern, info.ModTime(), err, want)
			}
		}
	})
}
