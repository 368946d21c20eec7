package fetch

import (
	"testing"

	"osbuild-containers/internal/request"
	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

// TestImageIsPublishedAsServed fetches images of both media type families and all compressions by digest.
func TestImageIsPublishedAsServed(t *testing.T) {
	t.Parallel()
	for name, img := range map[string]*images.Image{
		"oci":       images.New(images.Layer(3000), images.LayerAs(images.Zstd, 2000), images.LayerAs(images.Plain, 1000)),
		"docker":    images.New(images.Docker(), images.Layer(3000), images.Layer(1)),
		"no layers": images.New(),
		"same twice": images.New(images.Use(images.New(images.Layer(500)).Layers...), images.Layer(400),
			images.Use(images.New(images.Layer(500)).Layers...)),
		"no mediaType":       images.New(images.MediaType(""), images.Layer(300)),
		"200 layers":         images.New(images.Layers(200, 100)),
		"config no JSON":     images.New(images.ConfigBytes([]byte("not even JSON")), images.Layer(10)),
		"spaces in manifest": images.New(images.Annotation("a", "<&>\u2028"), images.Layer(10)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, name := serve(t, img)
			w := newWorld(t)
			w.images(itemOf(img, name)).ok().cached(false)
			w.has(img)
			if got := f.BytesSent(`/blobs/`); got != img.Size() {
				t.Errorf("downloaded %d bytes, want %d", got, img.Size())
			}
			f.Reset()
			w.images(itemOf(img, name)).ok().cached(true)
			if n := len(f.Requests()); n != 0 {
				t.Errorf("an image that is there caused %d requests", n)
			}
		})
	}
}

// TestNames checks that the digest decides, whatever the tag and the spelling of the name.
func TestNames(t *testing.T) {
	t.Parallel()
	img := images.New(images.Layer(1000))
	reg := sharedRegistry(t)
	for _, repo := range []string{"library/busybox", "names/name"} {
		img.Push(t, reg.URL, repo)
	}
	images.New(images.Layer(7)).Push(t, reg.URL, "names/name:latest")
	f := reg.Faults(t)
	for written, path := range map[string]string{
		f.Addr + "/names/name":            "names/name",
		f.Addr + "/names/name:latest":     "names/name", // another image has this tag
		f.Addr + "/names/name:no-such":    "names/name",
		"busybox":                         "library/busybox",
		"busybox:1.36":                    "library/busybox",
		"docker.io/busybox":               "library/busybox",
		"index.docker.io/library/busybox": "library/busybox",
		"registry.example/name":           "names/name",
		"registry.example:443/name":       "names/name",
		"registry.example:443/name:v1":    "names/name",
	} {
		t.Run(written, func(t *testing.T) {
			w := newWorld(t).alone()
			w.config(".config/containers/registries.conf", `
				[[registry]]
				prefix = "docker.io"
				location = "`+f.Addr+`"
				insecure = true
				[[registry]]
				prefix = "registry.example"
				location = "`+f.Addr+`/names"
				insecure = true
			`)
			it := itemOf(img, written)
			it.Image.TLSVerify = written[0] == 'b' || written[0] == 'd' || written[0] == 'r' || written[0] == 'i'
			f.Reset()
			w.images(it).ok()
			w.has(img)
			if len(f.Matching(registry.Manifest(img.Digest.String()))) == 0 || len(f.Matching(registry.Any("^/v2/"+path+"/"))) != len(f.Requests())-1 {
				t.Errorf("asked for %v, want all of %s and one of /v2/", f.Requests(), path)
			}
		})
	}
}

// TestLists checks that a list is stored byte for byte, whatever it contains, and that nothing else is fetched.
func TestLists(t *testing.T) {
	t.Parallel()
	a, b := images.New(images.Layer(100)), images.New(images.Arch("arm64"), images.Layer(200))
	inner := images.NewList(images.Of(a, b))
	for name, list := range map[string]*images.List{
		"oci":          inner,
		"docker":       images.NewList(images.Of(a), images.Docker()),
		"empty":        images.NewList(nil),
		"of lists":     images.NewList(images.Of(inner, a)),
		"no mediaType": images.NewList(images.Of(a, b), images.MediaType("")),
		"annotated":    images.NewList(images.Of(b), images.Annotation("x", "<y>")),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, name := serve(t, list)
			w := newWorld(t)
			w.lists(listOf(list, name)).ok().cached(false)
			if got := w.list(list.Digest); got != string(list.Raw) {
				t.Errorf("published %q, want %q", got, list.Raw)
			}
			if n := len(f.Matching(registry.Any("/(blobs|manifests)/"))); n != 1 {
				t.Errorf("%d requests, want one for the list", n)
			}
			f.Reset()
			w.lists(listOf(list, name)).ok().cached(true)
			if n := len(f.Requests()); n != 0 {
				t.Errorf("a list that is there caused %d requests", n)
			}
			put(w.listPath(list.Digest), "damaged")
			w.lists(listOf(list, name)).ok().cached(false)
			if got := w.list(list.Digest); got != string(list.Raw) {
				t.Errorf("after damage: %q, want %q", got, list.Raw)
			}
		})
	}
}

// TestManyItems checks that a failed item does not affect others, and that each item has a result.
func TestManyItems(t *testing.T) {
	t.Parallel()
	common := images.New(images.Layer(50_000)).Layers
	all := []*images.Image{
		images.New(images.Use(common...), images.Layer(1)), images.New(images.Use(common...), images.Layer(2)),
		images.New(images.Use(common...), images.Layer(3)), images.New(images.Use(common...), images.Layer(4)),
	}
	f, name := serve(t, all[0], all[1], all[2])
	w := newWorld(t)
	var items []request.Item
	for _, img := range all {
		items = append(items, itemOf(img, name))
	}
	out := w.images(items...)
	for i, it := range items { // sorted by now
		r := out.Results[i]
		if good := it.ID != all[3].ID; r.Success != good || r.Metadata.Checksum != string(it.ID) || good != (r.Error == "") {
			t.Errorf("%s: %+v", it.ID, r)
		}
	}
	for _, img := range all[:3] {
		w.has(img)
	}
	if n := len(f.Matching(registry.Blob(string(common[0].Digest)))); n != 1 {
		t.Errorf("the common layer was asked for %d times, want once", n)
	}
}
