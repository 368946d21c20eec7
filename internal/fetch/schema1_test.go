package fetch

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

// old is a schema 1 image: two layers, one of them twice, and two steps without files.
var old = func() *images.Image {
	first := images.New(images.Layer(100_000)).Layers[0]
	return images.Schema1("images/old", "v1", images.Use(first, images.EmptyLayer), images.Layer(2000), images.Use(first, images.EmptyLayer))
}()

// serveSchema1 is serve for an image that no registry stores. Faults of a blob are outermost.
func serveSchema1(t testing.TB, img *images.Image, faults ...registry.Fault) (f *registry.Faults, name string) {
	t.Helper()
	f, name = serve(t)
	if len(faults) > 0 {
		f.On(registry.Blob(string(img.Layers[0].Digest)), faults...)
	}
	f.On(registry.Manifest(string(img.Digest)), registry.Handle(img.Handler()))
	f.On(registry.Get("/blobs/"), registry.Handle(img.Handler()))
	return f, name
}

// hasSchema1 fails the test unless the image is published, converted, together with its original manifest.
func (w *world) hasSchema1(img *images.Image) {
	w.t.Helper()
	got := w.published(img.ID)
	m, err := manifest.Parse(got["manifest.json"])
	if err != nil {
		w.t.Fatalf("the manifest is %s: %v", got["manifest.json"], err)
	}
	if m.Config.Digest != img.ID || !bytes.Equal(got[img.ID.Encoded()], img.Config) {
		w.t.Errorf("the config is %s %s, want %s", m.Config.Digest, got[img.ID.Encoded()], img.ID)
	}
	n := 0
	for _, l := range img.Layers {
		if l.Digest == images.EmptyLayer.Digest {
			continue
		}
		if n == len(m.Layers) || m.Layers[n].Digest != l.Digest || m.Layers[n].Size != l.Size || !bytes.Equal(got[l.Digest.Encoded()], l.Blob) {
			w.t.Fatalf("layer %d is not %s: %s", n, l.Digest, got["manifest.json"])
		}
		n++
	}
	if raw, err := os.ReadFile(w.schema1Path(img)); err != nil || !bytes.Equal(raw, img.Raw) {
		w.t.Errorf("schema1.json has %.60q (%v), want %.60q", raw, err, img.Raw)
	}
}

func (w *world) schema1Path(img *images.Image) string {
	return filepath.Join(filepath.Dir(cache.Open(w.cache).ImagePath(img.ID)), "schema1.json")
}

// TestSchema1 fetches, finds and copies a schema 1 image. Each layer is downloaded once; dropped layers are not.
func TestSchema1(t *testing.T) {
	t.Parallel()
	f, name := serveSchema1(t, old)
	w := newWorld(t)
	item := itemOf(old, name)
	out := w.images(item).ok().cached(false)
	w.hasSchema1(old)
	if n := len(f.Matching(registry.Get("/blobs/"))); n != 2 {
		t.Errorf("%d blobs were downloaded, want 2", n)
	}
	if got, want := out.Results[0].Metadata.Bytes, old.Layers[0].Size+old.Layers[2].Size; got != want {
		t.Errorf("%d bytes are reported, want %d", got, want)
	}
	f.On(registry.Any(""), registry.Status(500, ""))
	w.images(item).ok().cached(true)
	to := newWorld(t)
	w.copyTo(to, item).ok()
	to.hasSchema1(old)
	to.images(item).ok().cached(true)
}

// TestSchema1OnAHit pairs changes of a cached schema 1 image with whether it still counts as the pinned one.
func TestSchema1OnAHit(t *testing.T) {
	t.Parallel()
	// The same layers: the image id differs by the history only.
	other := images.Schema1("images/old", "v1", images.Use(old.Layers...), images.Arch("arm64"))
	for name, c := range map[string]struct {
		spoil func(w *world) error
		hit   bool
	}{
		"nothing":                     {func(*world) error { return nil }, true},
		"signatures of another key":   {func(w *world) error { return os.WriteFile(w.schema1Path(old), images.Sign(payload(old)), 0o644) }, true},
		"no schema1.json":             {func(w *world) error { return os.Remove(w.schema1Path(old)) }, false},
		"schema1.json is empty":       {func(w *world) error { return os.Truncate(w.schema1Path(old), 0) }, false},
		"schema1.json is another":     {func(w *world) error { return os.WriteFile(w.schema1Path(old), other.Raw, 0o644) }, false},
		"schema1.json is not signed":  {func(w *world) error { return os.WriteFile(w.schema1Path(old), payload(old), 0o644) }, true},
		"schema1.json is a bit wrong": {func(w *world) error { return flip(w.schema1Path(old), 40) }, false},
		"the config is a bit wrong": {func(w *world) error {
			return flip(filepath.Join(cache.Open(w.cache).ImagePath(old.ID), old.ID.Encoded()), 40)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, name := serveSchema1(t, old)
			w := newWorld(t)
			w.images(itemOf(old, name)).ok()
			must(c.spoil(w))
			if strings.HasPrefix(t.Name(), "TestSchema1OnAHit/the_config") { // a fetch trusts names in the pool
				w.dropPool()
			}
			w.images(itemOf(old, name)).ok().cached(c.hit)
			if !c.hit {
				w.hasSchema1(old)
			}
		})
	}
}

// TestSchema1OfAnotherImage pins one image's id with the manifest of another, stored next to it: it is not a hit.
func TestSchema1OfAnotherImage(t *testing.T) {
	t.Parallel()
	other := images.Schema1("images/old", "v1", images.Use(old.Layers...), images.Arch("arm64"))
	f, name := serveSchema1(t, old)
	w := newWorld(t)
	w.images(itemOf(old, name)).ok()
	must(os.WriteFile(w.schema1Path(old), other.Raw, 0o644))
	f.On(registry.Manifest(string(other.Digest)), registry.Handle(other.Handler()))
	it := itemOf(old, name)
	it.Image.Digest = other.Digest
	w.images(it).failed("<name>: image id is <other>, want <id>: pin both again, or fix one",
		"<name>", name+"@"+string(other.Digest), "<other>", string(other.ID), "<id>", string(old.ID))
}

// payload is the signed part of an image's manifest.
func payload(img *images.Image) []byte {
	at := bytes.LastIndex(img.Raw, []byte(",\n   \"signatures\""))
	signed := append(bytes.Clone(img.Raw[:at]), "\n}"...)
	if digest.FromBytes(signed) != img.Digest {
		panic("not the signed part")
	}
	return signed
}

// flip changes one bit of a file.
func flip(path string, at int) error {
	raw, err := os.ReadFile(path)
	if err == nil {
		raw[at] ^= 1
		err = os.WriteFile(path, raw, 0o644)
	}
	return err
}

// TestSchema1Resumes checks that a layer of unknown size is resumed, is not downloaded if complete, and is always verified.
func TestSchema1Resumes(t *testing.T) {
	t.Parallel()
	layer := old.Layers[0]
	half := layer.Blob[:50_000]
	const rest = "bytes=50000-"
	for name, c := range map[string]struct {
		left  []byte
		fault registry.Fault
		asked []string
	}{
		"nothing":              {nil, nil, []string{"-"}},
		"half of it":           {half, nil, []string{rest}},
		"all of it":            {layer.Blob, nil, nil},
		"damaged":              {make([]byte, 50_000), nil, []string{rest, "-"}},
		"as long, but damaged": {make([]byte, layer.Size), nil, []string{"bytes=" + size(layer) + "-", "-"}},
		"more than it":         {append(bytes.Clone(layer.Blob), 'x'), nil, []string{"bytes=" + size1(layer) + "-", "-"}},
		"server ignores range": {half, registry.IgnoreRange(), []string{rest}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var faults []registry.Fault
			if c.fault != nil {
				faults = append(faults, c.fault)
			}
			f, name := serveSchema1(t, old, faults...)
			w := newWorld(t)
			if c.left != nil {
				w.setPartial(layer.Digest, c.left)
			}
			w.images(itemOf(old, name)).ok()
			w.hasSchema1(old)
			ranges(t, asked(f, layer.Digest), c.asked...)
		})
	}
}

func size(l images.LayerInfo) string  { return strconv.Itoa(int(l.Size)) }
func size1(l images.LayerInfo) string { return strconv.Itoa(int(l.Size + 1)) }

// TestSchema1BrokenConnection checks that a layer of unknown size is resumed after a broken connection.
func TestSchema1BrokenConnection(t *testing.T) {
	t.Parallel()
	layer := old.Layers[0]
	f, name := serve(t)
	f.On(registry.Blob(string(layer.Digest)).First(1), registry.Truncate(60_000))
	f.On(registry.Manifest(string(old.Digest)), registry.Handle(old.Handler()))
	f.On(registry.Get("/blobs/"), registry.Handle(old.Handler()))
	w := newWorld(t)
	w.images(itemOf(old, name)).ok()
	w.hasSchema1(old)
	ranges(t, asked(f, layer.Digest), "-", "bytes=60000-")
}

// TestSchema1PoolIsVerified checks that a pooled blob of unknown size is used only if its digest matches.
func TestSchema1PoolIsVerified(t *testing.T) {
	t.Parallel()
	f, name := serveSchema1(t, old)
	w := newWorld(t)
	w.images(itemOf(old, name)).ok()
	must(os.RemoveAll(cache.Open(w.cache).ImagePath(old.ID)))
	pooled := cache.Open(w.cache).PooledPath(old.Layers[0].Digest)
	must(os.Truncate(pooled, 77))
	out := w.images(itemOf(old, name)).ok()
	w.hasSchema1(old)
	ranges(t, asked(f, old.Layers[0].Digest), "-", "-")
	if got := out.Results[0].Metadata; got.Bytes != old.Layers[0].Size || got.Reused < old.Layers[2].Size {
		t.Errorf("got %+v", got)
	}
}

// TestSchema1Refused pairs requests for a schema 1 image with errors. Nothing is published.
func TestSchema1Refused(t *testing.T) {
	t.Parallel()
	wrong := digest.FromString("another image")
	flipped := bytes.Clone(old.Layers[0].Blob)
	flipped[500] ^= 1
	const is = "manifest is of Docker's schema 1, which is accepted only for an image that is pinned itself, not in a manifest list nor as one"
	list := images.NewList(images.Of(old))
	for name, c := range map[string]struct {
		do   func(w *world, f *registry.Faults, name string) outcome
		want string
	}{
		"another id": {func(w *world, _ *registry.Faults, name string) outcome {
			it := itemOf(old, name)
			it.ID = wrong
			return w.images(it)
		}, "<name>@<digest>: image id is <id>, want " + string(wrong) + ": pin both again, or fix one"},
		"as a list": {func(w *world, _ *registry.Faults, name string) outcome {
			it := itemOf(old, name)
			it.ID, it.Image.Digest = old.Digest, ""
			return w.lists(it)
		}, "<name>@<digest>: " + is},
		"in a list": {func(w *world, f *registry.Faults, name string) outcome {
			f.On(registry.Manifest(string(list.Digest)), registry.Body(images.OCIIndex, list.Raw))
			return w.images(via(list, old, name))
		}, "<name>@" + string(list.Digest) + ": the manifest list has no image with the id <id>; it offers linux/amd64 <digest>: " + is},
		"damaged layer": {func(w *world, f *registry.Faults, name string) outcome {
			f.Reset()
			f.On(registry.Manifest(string(old.Digest)), registry.Handle(old.Handler()))
			f.On(registry.Blob(string(old.Layers[0].Digest)), registry.Body("application/octet-stream", flipped))
			f.On(registry.Get("/blobs/"), registry.Handle(old.Handler()))
			return w.images(itemOf(old, name))
		}, "<name>@<digest>: blob " + string(old.Layers[0].Digest) + ": digest mismatch: got " + string(digest.FromBytes(flipped)) + ", want " + string(old.Layers[0].Digest) +
			"\nwhat is served is not what the manifest names: a proxy or the registry damages it, or the image was pushed badly"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, name := serveSchema1(t, old)
			w := newWorld(t)
			c.do(w, f, name).failed(c.want, "<name>", name, "<digest>", string(old.Digest), "<id>", string(old.ID))
			w.nothing()
		})
	}
}

// TestSchema1Signed checks that policy.json is applied to the signed schema 1 manifest, for cached images too, and that its
// signatures are not published as those of the converted image.
func TestSchema1Signed(t *testing.T) {
	t.Parallel()
	s := newSigner()
	f, name := serveSchema1(t, old)
	f.Reset() // the attachments come from the registry
	f.On(registry.Manifest(string(old.Digest)), registry.Handle(old.Handler()))
	for _, l := range old.Layers {
		f.On(registry.Blob(string(l.Digest)), registry.Handle(old.Handler()))
	}
	s.sign(t, old.Digest, name)
	w := newWorld(t).alone()
	w.config("key.pem", s.public())
	w.policy(map[string]string{name: "key.pem"})
	w.attachments(f.Addr)
	w.images(itemOf(old, name)).ok()
	w.hasSchema1(old)
	if _, signed := w.published(old.ID)["signature-1"]; signed {
		t.Error("a signature of the manifest of schema 1 is published for another manifest")
	}
	f.On(registry.Any(""), registry.Status(500, ""))
	w.images(itemOf(old, name)).ok().cached(true)
	w.config("key.pem", newSigner().public())
	if r := w.images(itemOf(old, name)).Results[0]; r.Success {
		t.Error("accepted with a signature by another key")
	}
}
