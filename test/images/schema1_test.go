package images_test

import (
	"testing"

	"github.com/containers/image/v5/manifest"

	"osbuild-containers/test/images"
)

// TestSchema1IsSigned asks the library: it strips signatures before it hashes,
// and fails when they are malformed.
func TestSchema1IsSigned(t *testing.T) {
	img := images.Schema1("a/b", "v1", images.Layers(2, 10))
	got, err := manifest.Digest(img.Raw)
	if err != nil || got != img.Digest {
		t.Errorf("digest %s, want %s, error %v", got, img.Digest, err)
	}
	if mt := manifest.GuessMIMEType(img.Raw); mt != images.DockerSchema1 {
		t.Errorf("media type %s", mt)
	}
	if img.ID == "" || len(img.Layers) != 2 {
		t.Errorf("id %q, %d layers", img.ID, len(img.Layers))
	}
	const empty = "sha256:a3ed95caeb02ffe68cdd9fd84406680ae93d633cb16422d00e8a7c22955b46d4"
	if got := images.EmptyLayer.Digest.String(); got != empty {
		t.Errorf("the empty layer is %s, want %s", got, empty)
	}
}
