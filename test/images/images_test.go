package images_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/opencontainers/go-digest"

	"osbuild-containers/test/images"
)

func TestTheSameOptionsGiveTheSameBytes(t *testing.T) {
	build := func(seed uint64) *images.Image {
		return images.New(images.Seed(seed), images.Layer(1000), images.LayerAs(images.Zstd, 2000), images.Docker())
	}
	if a, b := build(1), build(1); a.Digest != b.Digest {
		t.Errorf("%s and %s", a.Digest, b.Digest)
	}
	if a, b := build(1), build(2); a.Layers[0].Digest == b.Layers[0].Digest {
		t.Error("another seed gave the same layer")
	}
	two := images.New(images.Layers(2, 1000))
	if two.Layers[0].Digest == two.Layers[1].Digest {
		t.Error("two layers of one image are the same")
	}
}

// TestLayersAreTarArchives unpacks each kind and checks all digests and sizes.
func TestLayersAreTarArchives(t *testing.T) {
	const size = 300_000
	img := images.New(images.LayerAs(images.Plain, size), images.Layer(size), images.LayerAs(images.Zstd, size))
	open := []func(io.Reader) (io.Reader, error){
		func(r io.Reader) (io.Reader, error) { return r, nil },
		func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) },
		func(r io.Reader) (io.Reader, error) { return zstd.NewReader(r) },
	}
	wantTypes := []string{images.OCILayer, images.OCILayer + "+gzip", images.OCILayer + "+zstd"}
	for i, l := range img.Layers {
		if l.MediaType != wantTypes[i] || l.Digest != digest.FromBytes(l.Blob) || l.Size != int64(len(l.Blob)) {
			t.Errorf("layer %d: %s %s %d", i, l.MediaType, l.Digest, l.Size)
		}
		if l.Size < size || l.Size > size+8000 {
			t.Errorf("layer %d has %d bytes, should not compress", i, l.Size)
		}
		r, err := open[i](bytes.NewReader(l.Blob))
		if err != nil {
			t.Fatal(err)
		}
		raw, err := io.ReadAll(r)
		if err != nil || digest.FromBytes(raw) != l.DiffID {
			t.Errorf("layer %d: diff id %s, error %v", i, l.DiffID, err)
		}
		h, err := tar.NewReader(bytes.NewReader(raw)).Next()
		if err != nil || h.Size != size {
			t.Errorf("layer %d: tar entry %+v, error %v", i, h, err)
		}
	}
}

func TestManifestNamesConfigAndLayers(t *testing.T) {
	img := images.New(images.Docker(), images.Arch("arm64"), images.Variant("v8"), images.Layer(10),
		images.Foreign(10, "http://example.com/x"), images.Annotation("k", "v"))
	var m struct {
		MediaType   string
		Annotations map[string]string
		Config      struct {
			MediaType string
			Digest    digest.Digest
			Size      int
		}
		Layers []struct {
			MediaType string
			Digest    digest.Digest
			URLs      []string
		}
	}
	decode(t, img.Raw, &m)
	if img.Digest != digest.FromBytes(img.Raw) || m.MediaType != images.DockerManifest || m.Annotations["k"] != "v" {
		t.Errorf("manifest: %s", img.Raw)
	}
	if img.ID != digest.FromBytes(img.Config) || m.Config.Digest != img.ID || m.Config.Size != len(img.Config) || m.Config.MediaType != images.DockerConfig {
		t.Errorf("config: %+v", m.Config)
	}
	if len(m.Layers) != 2 || m.Layers[0].Digest != img.Layers[0].Digest || m.Layers[0].MediaType != images.DockerLayer+".gzip" ||
		m.Layers[1].MediaType != images.DockerForeignLayer+".gzip" || m.Layers[1].URLs[0] != "http://example.com/x" {
		t.Errorf("layers: %+v", m.Layers)
	}
	var c struct {
		Architecture, Variant, OS string
		RootFS                    struct {
			DiffIDs []digest.Digest `json:"diff_ids"`
		}
	}
	decode(t, img.Config, &c)
	if c.Architecture != "arm64" || c.Variant != "v8" || c.OS != "linux" || len(c.RootFS.DiffIDs) != 2 || c.RootFS.DiffIDs[0] != img.Layers[0].DiffID {
		t.Errorf("config: %s", img.Config)
	}
	if img.Size() != int64(len(img.Config))+img.Layers[0].Size {
		t.Errorf("size %d", img.Size())
	}
}

func decode(t *testing.T, data []byte, into any) {
	t.Helper()
	if err := json.Unmarshal(data, into); err != nil {
		t.Fatal(err)
	}
}

func TestListsNameTheirEntries(t *testing.T) {
	amd, arm := images.New(images.Layer(10)), images.New(images.Arch("arm"), images.Variant("v7"))
	inner := images.NewList(images.Of(arm), images.Docker())
	list := images.NewList(images.Of(amd, inner))
	type entry struct {
		MediaType string
		Digest    digest.Digest
		Platform  *struct{ Architecture, Variant string }
	}
	var outer, nested struct {
		MediaType string
		Manifests []entry
	}
	decode(t, list.Raw, &outer)
	decode(t, inner.Raw, &nested)
	if outer.MediaType != images.OCIIndex || len(outer.Manifests) != 2 || outer.Manifests[0].Digest != amd.Digest ||
		outer.Manifests[0].Platform.Architecture != "amd64" || outer.Manifests[1].Digest != inner.Digest || outer.Manifests[1].MediaType != images.DockerList {
		t.Errorf("outer: %s", list.Raw)
	}
	if nested.Manifests[0].Platform.Variant != "v7" {
		t.Errorf("nested: %s", inner.Raw)
	}
}

func TestBadImages(t *testing.T) {
	fields := func(img *images.Image) map[string]any {
		var m map[string]any
		decode(t, img.Raw, &m)
		return m
	}
	if m := fields(images.New(images.NoConfig())); m["config"] != nil {
		t.Errorf("NoConfig: %v", m)
	}
	if m := fields(images.New(images.Artifact("x/y"))); m["artifactType"] != "x/y" || m["config"].(map[string]any)["mediaType"] != images.OCIEmpty {
		t.Errorf("Artifact: %v", m)
	}
	if m := fields(images.New(images.MediaType(""))); m["mediaType"] != nil {
		t.Errorf("MediaType: %v", m)
	}
	if m := fields(images.New(images.Layers(2, 10), images.LayerSize(1, 7))); m["layers"].([]any)[1].(map[string]any)["size"] != 7.0 {
		t.Errorf("LayerSize: %v", m)
	}
	both := images.New(images.Edit(func(m map[string]any) { m["manifests"] = []any{} }))
	if m := fields(both); m["layers"] == nil || m["manifests"] == nil || digest.FromBytes(both.Raw) != both.Digest {
		t.Errorf("Edit: %v", m)
	}
	first := images.New(images.Layer(10)).Layers
	if dup := images.New(images.Use(first...), images.Use(first...)); dup.Layers[0].Digest != dup.Layers[1].Digest {
		t.Error("Use did not repeat the layer")
	}
	if many := images.New(images.Layers(20_000, 1)); len(many.Layers) != 20_000 {
		t.Errorf("%d layers", len(many.Layers))
	}
}

func TestHandlerServesTheImage(t *testing.T) {
	img := images.New(images.NoConfig(), images.Layer(1000))
	server := httptest.NewServer(img.Handler())
	t.Cleanup(server.Close)
	for path, want := range map[string][]byte{
		"/v2/a/b/manifests/" + img.Digest.String():       img.Raw,
		"/v2/a/b/manifests/latest":                       img.Raw,
		"/v2/a/b/blobs/" + img.Layers[0].Digest.String(): img.Layers[0].Blob,
		"/v2/a/b/blobs/" + img.Digest.String():           []byte("404 page not found\n"),
		"/v2/":                                           nil,
	} {
		resp, err := http.Get(server.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %.100q, error %v", path, got, err)
		}
	}
}
