package bundle

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/progress"
	"osbuild-containers/test/images"
)

// Artifacts without a file system next to an image, in a list or an index, are skipped with a note.
func TestArtifactsBesideImages(t *testing.T) {
	kind := func(mediaType string) images.Option {
		return images.Edit(func(m map[string]any) {
			for _, l := range m["layers"].([]any) {
				l.(map[string]any)["mediaType"] = mediaType
			}
		})
	}
	img := images.New(images.Layer(1000))
	attestation := images.New(images.Layer(10), kind("application/vnd.in-toto+json"))
	signature := images.New(images.Layer(20), kind("application/vnd.dev.cosign.simplesigning.v1+json"))
	list := images.NewList(images.Of(img, attestation))
	blobs := append(blobsOf(img), blobsOf(attestation)...)
	blobs = append(append(blobs, blobsOf(signature)...), list.Raw)
	path := write(t, layoutOf([]map[string]any{
		entry(list.Raw, v1.MediaTypeImageIndex, "example.com/app:1"), entry(signature.Raw, v1.MediaTypeImageManifest, "example.com/app:sha256-1.sig"),
	}, blobs...)...)
	var said strings.Builder
	dir := filepath.Join(t.TempDir(), "cache")
	done, err := Import(context.Background(), cache.Open(dir), path, ImportOptions{}, progress.NewLog(&said))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range done.Results {
		if r.State != Added || r.ID != img.ID && r.ID != list.Digest {
			t.Errorf("%+v", r)
		}
	}
	for _, a := range []*images.Image{attestation, signature} {
		if !strings.Contains(said.String(), a.Digest.String()+" is left out: ") {
			t.Errorf("%s is not in what was said: %s", a.Digest, &said)
		}
		if _, err := os.Stat(filepath.Join(dir, "org.osbuild.containers", a.ID.String())); err == nil && a.ID != img.ID {
			t.Errorf("%s is in the cache", a.ID)
		}
	}
}
