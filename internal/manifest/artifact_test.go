package manifest

import (
	"errors"
	"strings"
	"testing"

	"osbuild-containers/test/images"
)

// What is no image is read for its parts, if it has the form of one; what Parse refuses for other reasons stays
// refused.
func TestParseAny(t *testing.T) {
	note := images.New(images.Artifact("application/vnd.in-toto+json"), images.Layer(100), images.Layer(200))
	if _, err := Parse(note.Raw); !errors.Is(err, ErrArtifact) {
		t.Fatalf("Parse: %v", err)
	}
	m, err := ParseAny(note.Raw)
	if err != nil || len(m.Layers) != 2 || m.Config.Digest == "" || len(m.Blobs()) != 3 {
		t.Errorf("got %+v, %v", m, err)
	}
	img := images.New(images.Layer(100))
	if m, err := ParseAny(img.Raw); err != nil || m.Config.Digest != img.ID {
		t.Errorf("an image: %+v, %v", m, err)
	}
	bad := strings.Replace(string(note.Raw), note.Layers[0].Digest.String(), "sha256:../../etc/passwd", 1)
	for _, raw := range []string{bad, `{"schemaVersion": 2}`, `{"schemaVersion": 1, "fsLayers": []}`, `{`, strings.Replace(bad, "layers", "Layers", 1)} {
		if m, err := ParseAny([]byte(raw)); err == nil {
			t.Errorf("%s is %+v", raw, m)
		}
	}
}
