package images_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"

	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

func get(t *testing.T, url, accept string) (int, []byte) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", accept)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, data
}

// TestRegistryTakesThem: a real registry gives back the bytes of all kinds.
func TestRegistryTakesThem(t *testing.T) {
	reg := registry.Start(t)
	shared := images.New(images.Layer(1000))
	amd := images.New(images.Use(shared.Layers...), images.Docker())
	arm := images.New(images.Arch("arm64"), images.Use(shared.Layers...), images.Layer(2000))
	list := images.NewList(images.Of(amd, arm))
	for name, e := range map[string]struct {
		entry     images.Entry
		mediaType string
		raw       []byte
	}{
		"oci":      {arm, images.OCIManifest, arm.Raw},
		"docker":   {amd, images.DockerManifest, amd.Raw},
		"index":    {list, images.OCIIndex, list.Raw},
		"list":     image(images.NewList(images.Of(amd), images.Docker())),
		"nested":   image(images.NewList(images.Of(list))),
		"zero":     image(images.New()),
		"artifact": image(images.New(images.Artifact("x/y"), images.Layer(10))),
		"foreign":  image(images.New(images.Foreign(10, "http://example.com/x"))),
		"many":     image(images.New(images.Layers(200, 10))),
		"double":   image(images.New(images.Use(shared.Layers...), images.Use(shared.Layers...))),
		"sizes":    image(images.New(images.Layer(10), images.LayerSize(0, 5))),
	} {
		t.Run(name, func(t *testing.T) {
			if err := images.Push(e.entry, reg.URL, "x/"+name+":v1"); err != nil {
				t.Fatal(err)
			}
			code, raw := get(t, reg.URL+"/v2/x/"+name+"/manifests/v1", e.mediaType)
			if code != http.StatusOK || !bytes.Equal(raw, e.raw) {
				t.Errorf("status %d: %.200s", code, raw)
			}
		})
	}
}

func image(e images.Entry) (out struct {
	entry     images.Entry
	mediaType string
	raw       []byte
},
) {
	out.entry = e
	switch e := e.(type) {
	case *images.Image:
		out.mediaType, out.raw = e.MediaType, e.Raw
	case *images.List:
		out.mediaType, out.raw = e.MediaType, e.Raw
	}
	return out
}

func TestPushReportsRefusals(t *testing.T) {
	reg := registry.Start(t, registry.Basic("ann", "secret"))
	err := images.Push(images.New(), reg.URL, "a/b")
	if err == nil || !strings.Contains(err.Error(), "401") {
		t.Errorf("without credentials: %v", err)
	}
	good := images.Header("Authorization", "Basic YW5uOnNlY3JldA==")
	if err := images.Push(images.New(), reg.URL, "a/b", good); err != nil {
		t.Errorf("with a header: %v", err)
	}
}
