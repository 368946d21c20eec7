package fetch

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/request"
	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

// TestInstanceByID checks that the image with the wanted id is selected from a list, on any machine, and that the list is stored
// so that the next run needs no network.
func TestInstanceByID(t *testing.T) {
	t.Parallel()
	amd := images.New(images.Layer(100))
	arm := images.New(images.Arch("arm64"), images.Variant("v8"), images.Layer(200))
	z := images.New(images.Arch("s390x"), images.Layer(300))
	zAgain := images.New(images.Arch("s390x"), images.Layer(300), images.Annotation("second", "one")) // same id
	noPlatform := images.Edit(func(m map[string]any) {
		for _, e := range m["manifests"].([]any) {
			delete(e.(map[string]any), "platform")
		}
	})
	artifact := images.New(images.Artifact("application/spdx+json"), images.Layer(5))
	for name, c := range map[string]struct {
		list *images.List
		want *images.Image
	}{
		"first":             {images.NewList(images.Of(amd, arm, z)), amd},
		"last":              {images.NewList(images.Of(amd, arm, z)), z},
		"docker":            {images.NewList(images.Of(amd, arm), images.Docker()), arm},
		"no platforms":      {images.NewList(images.Of(amd, arm), noPlatform), arm},
		"two with one id":   {images.NewList(images.Of(amd, zAgain, z)), zAgain},
		"after an artifact": {images.NewList(images.Of(artifact, arm)), arm},
		"after a list":      {images.NewList(images.Of(images.NewList(images.Of(z)), arm)), arm},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, name := serve(t, c.list)
			w := newWorld(t)
			w.images(via(c.list, c.want, name)).ok()
			w.has(c.want)
			if got := w.listOf(c.want.ID); got != string(c.list.Raw) {
				t.Errorf("the list of the image is %q, want the one it was pinned by", got)
			}
			f.Reset()
			w.images(via(c.list, c.want, name)).ok().cached(true)
			w.images(itemOf(c.want, name)).ok().cached(true) // pinned itself: the same
			if n := len(f.Requests()); n != 0 {
				t.Errorf("an image that is there caused %d requests", n)
			}
		})
	}
}

// TestNotAnImage pairs manifests that are not images with the error.
func TestNotAnImage(t *testing.T) {
	t.Parallel()
	amd := images.New(images.Layer(100))
	arm := images.New(images.Arch("arm"), images.Variant("v7"), images.Layer(200))
	artifact := images.New(images.Artifact("application/spdx+json"), images.Layer(5))
	inner := images.NewList(images.Of(amd))
	layers := func(m map[string]any) { m["layers"], m["config"] = []any{}, map[string]any{} }
	id := amd.ID.Encoded()
	other := string(digest.FromString("other"))
	for name, c := range map[string]struct {
		entry images.Entry
		id    digest.Digest // "" is amd's
		want  string
	}{
		"another image": {arm, "", "<name>: image id is <arm>, want <amd>: pin both again, or fix one"},
		"list without it": {
			images.NewList(images.Of(amd, arm)), digest.Digest(other),
			"<name>: the manifest list has no image with the id " + other + "; it offers linux/amd64 <amd>, linux/arm/v7 <arm>",
		},
		"list of lists": {
			images.NewList(images.Of(inner)), "",
			"<name>: the manifest list has no image with the id <amd>; it offers unknown " + string(inner.Digest) + ": a list within a list",
		},
		"list of an artifact": {
			images.NewList(images.Of(artifact)), "",
			"<name>: the manifest list has no image with the id <amd>; it offers linux/amd64 " + string(artifact.Digest) +
				`: manifest is of an artifact of type "application/spdx+json": not a container image`,
		},
		"empty list": {images.NewList(nil), "", "<name>: the manifest list has no image with the id <amd>; it offers nothing"},
		"artifact": {
			artifact, artifact.ID, `<name>: manifest is of an artifact of type "application/spdx+json": not a container image`,
		},
		"artifact without config": {images.New(images.NoConfig(), images.Layer(5)), "", "<name>: manifest has no config: not a container image"},
		"helm chart": {
			images.New(images.ConfigBytes([]byte("{}")), images.Layer(5), images.Edit(func(m map[string]any) {
				m["config"].(map[string]any)["mediaType"] = "application/vnd.cncf.helm.config.v1+json"
			})), "",
			`<name>: manifest is of an artifact of type "application/vnd.cncf.helm.config.v1+json": not a container image`,
		},
		"lying mediaType": {
			images.New(images.Layer(5), images.MediaType(images.OCIIndex)), "",
			"<name>: manifest is inconsistent: its media type is application/vnd.oci.image.index.v1+json, but it has layers",
		},
		"both": {
			images.NewList(images.Of(amd), images.Edit(layers)), "", "<name>: manifest is ambiguous: it has both layers and manifests",
		},
		"path as a digest": {
			images.New(images.Layer(5), images.Edit(func(m map[string]any) {
				m["layers"].([]any)[0].(map[string]any)["digest"] = "sha256:../../" + id
			})), "",
			`<name>: manifest: layers[0]: digest "sha256:../../` + id + `" is not sha256: and 64 lower case hex digits`,
		},
		"negative size": {
			images.New(images.Layer(5), images.LayerSize(0, -5)), "",
			"<name>: manifest: layers[0]: " + string(images.New(images.Layer(5)).Layers[0].Digest) + ": size -5 is negative",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, name := serve(t, amd, arm, artifact, inner)
			f.On(registry.Manifest(string(digestOf(c.entry))), registry.Handle(c.entry.(interface{ Handler() http.Handler }).Handler()))
			w := newWorld(t)
			it := itemOf(amd, name)
			if c.id != "" {
				it.ID = c.id
			}
			it.Image.Digest = digestOf(c.entry)
			out := w.images(it).failed(c.want, "<name>", name+"@"+string(it.Image.Digest), "<amd>", string(amd.ID), "<arm>", string(arm.ID))
			w.nothing()
			if out.Results[0].Metadata.Attempts != 1 {
				t.Errorf("%d attempts, want 1: it would be the same again", out.Results[0].Metadata.Attempts)
			}
			if n := f.BytesSent("/blobs/"); n != 0 {
				t.Errorf("downloaded %d bytes of blobs", n)
			}
		})
	}
}

func digestOf(e images.Entry) digest.Digest {
	switch e := e.(type) {
	case *images.Image:
		return e.Digest
	case *images.List:
		return e.Digest
	}
	return ""
}

// TestNotAList checks the error of the index source for an image.
func TestNotAList(t *testing.T) {
	t.Parallel()
	img := images.New(images.Layer(100))
	_, name := serve(t, img)
	w := newWorld(t)
	w.lists(request.Item{ID: img.Digest, Image: itemOf(img, name).Image}).failed(
		"<name>: this is an image, not a manifest list; images are for the source org.osbuild.skopeo", "<name>", name+"@"+string(img.Digest))
	w.nothing()
}

// TestOddManifests fetches manifests that no registry would store.
func TestOddManifests(t *testing.T) {
	t.Parallel()
	old := images.Schema1("a/b", "v1", images.Layer(10))
	oldAsServed := digest.FromBytes(old.Raw)
	img := images.New(images.Layer(10))
	spaces := append([]byte("{}"), make([]byte, 5<<20)...)
	serves := func(body []byte) registry.Fault { return registry.Body(images.OCIManifest, body) }
	deep := []byte(`{"x":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`)
	for name, c := range map[string]struct {
		pinned digest.Digest
		answer registry.Fault
		want   string
	}{
		// Its digest is of what is signed, not of what is served.
		"schema 1, pinned as served": {
			oldAsServed, serves(old.Raw), "<name>: manifest has digest " + string(old.Digest) + ", want " + string(oldAsServed),
		},
		"another schema 1": {
			img.Digest, serves(old.Raw), "<name>: manifest has digest " + string(old.Digest) + ", want " + string(img.Digest),
		},
		"another manifest": {img.Digest, serves([]byte("{}")), "<name>: manifest has digest " + string(digest.FromString("{}")) + ", want " + string(img.Digest)},
		"HTML":             {digest.FromString("<html>"), serves([]byte("<html>")), "<name>: manifest is not JSON: invalid character '<' looking for beginning of value"},
		"deep":             {digest.FromBytes(deep), serves(deep), "<name>: manifest is not JSON: invalid character '[' exceeded max depth"},
		"5 MiB":            {digest.FromBytes(spaces), serves(spaces), "<name>: the registry's answer is longer than 4194304 bytes"},
		"endless": {
			digest.FromString("x"), registry.Endless(), "<name>: the registry's answer is longer than 4194304 bytes",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, name := serve(t, img)
			if c.pinned == digest.FromString("x") {
				f.On(registry.Get("/manifests/"), c.answer, serves([]byte("x")))
			} else {
				f.On(registry.Get("/manifests/"), c.answer)
			}
			w := newWorld(t)
			it := itemOf(img, name)
			it.Image.Digest = c.pinned
			w.images(it).failed(c.want, "<name>", fmt.Sprint(name, "@", c.pinned))
			w.nothing()
		})
	}
}

// TestMixedMediaTypesAreTold expects one line that names an image refused by other tools.
func TestMixedMediaTypesAreTold(t *testing.T) {
	t.Parallel()
	img := images.New(images.Layer(10), images.Edit(func(m map[string]any) {
		m["config"].(map[string]any)["mediaType"] = images.DockerConfig
	}))
	_, name := serve(t, img)
	w := newWorld(t)
	w.images(itemOf(img, name)).ok().says(name + "@" + progress.Short(img.Digest.String()) + ": " + manifest.MixedNote)
	w.has(img)
}

// TestConfigIsVerified checks that the config's bytes are verified.
func TestConfigIsVerified(t *testing.T) {
	t.Parallel()
	img := images.New(images.Layer(100))
	f, name := serve(t, img)
	wrong := make([]byte, len(img.Config))
	f.On(registry.Blob(string(img.ID)), registry.Body("application/json", wrong))
	w := newWorld(t)
	w.images(itemOf(img, name)).failed("<name>: blob <id>: digest mismatch: got <got>, want <id>\nwhat is served is not what the manifest names: a proxy or the registry damages it, or the image was pushed badly",
		"<name>", name+"@"+string(img.Digest), "<id>", string(img.ID), "<got>", string(digest.FromBytes(wrong)))
	w.nothing()
}
