package registry

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"osbuild-containers/internal/image/library"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/request"
	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

// destination opens a repository of a registry with a login.
func destination(t *testing.T, f *registry.Faults, name string, known *BlobLocations) *Destination {
	t.Helper()
	library.RouteLogs(t.Logf)
	t.Cleanup(func() { library.RouteLogs(func(string, ...any) {}) })
	auth := filepath.Join(t.TempDir(), "auth.json")
	login := base64.StdEncoding.EncodeToString([]byte("ann:secret"))
	if err := os.WriteFile(auth, []byte(fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, f.Addr, login)), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := OpenDestination(t.Context(), f.Addr+"/"+name, request.Access{AuthFile: auth}, known)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// Manifests and blobs arrive unchanged, and a blob in another repository is mounted, which checks that the library still uses the
// recorded locations.
func TestDestinations(t *testing.T) {
	reg := registry.Start(t, registry.Basic("ann", "secret"))
	f := reg.Faults(t)
	img := images.New(images.Layer(2000))
	layer := img.Layers[0]
	known := NewBlobLocations()
	a, b := destination(t, f, "a", known), destination(t, f, "b", known)
	for _, blob := range []manifest.Descriptor{{Digest: layer.Digest, Size: layer.Size}, {Digest: img.ID, Size: int64(len(img.Config))}} {
		content := layer.Blob
		if blob.Digest == img.ID {
			content = img.Config
		}
		if there, err := a.Has(t.Context(), blob); there || err != nil {
			t.Errorf("it is there: %v, %v", there, err)
		}
		if err := a.Put(t.Context(), blob, bytes.NewReader(content)); err != nil {
			t.Fatal(err)
		}
		if there, err := a.Has(t.Context(), blob); !there || err != nil {
			t.Errorf("it is there: %v, %v", there, err)
		}
		if there, err := b.Has(t.Context(), blob); there || err != nil {
			t.Errorf("it is in the other repository: %v, %v", there, err)
		}
		if mounted, err := b.Mount(t.Context(), blob); !mounted || err != nil {
			t.Errorf("it is mounted: %v, %v", mounted, err)
		}
	}
	for _, tag := range []string{"", "v1"} {
		if there, err := b.HasManifest(t.Context(), img.Digest, tag); there || err != nil {
			t.Errorf("the manifest is there: %v, %v", there, err)
		}
		if err := b.PutManifest(t.Context(), img.Raw, tag); err != nil {
			t.Fatal(err)
		}
		if there, err := b.HasManifest(t.Context(), img.Digest, tag); !there || err != nil {
			t.Errorf("the manifest is there: %v, %v", there, err)
		}
	}
}

// A registry may redirect uploads to another host, but credentials are not sent there.
func TestUploadsElsewhereGetNoCredentials(t *testing.T) {
	reg := registry.Start(t, registry.Basic("ann", "secret"))
	f := reg.Faults(t)
	elsewhere := registry.NewCatcher(t)
	f.On(registry.Method(http.MethodPost, "/blobs/uploads/"), registry.Header("Location", elsewhere.URL+"/upload/1"))
	content := []byte("some bytes")
	blob := manifest.Descriptor{Digest: images.New().ID, Size: int64(len(content))}
	if err := destination(t, f, "a", NewBlobLocations()).Put(t.Context(), blob, bytes.NewReader(content)); err == nil {
		t.Error("it was taken")
	}
	got := elsewhere.Requests()
	if len(got) == 0 || got[0].Method != http.MethodPatch || got[0].Authorization != "" {
		t.Errorf("got %+v", got)
	}
}
