package manifest_test

import (
	"testing"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/manifest"
)

// TestShort includes invalid digests.
func TestShort(t *testing.T) {
	for d, want := range map[digest.Digest]string{
		digest.FromString("x"): "2d711642b726",
		"":                     "",
		"none":                 "",
		"sha256:":              "",
		"sha256:ab":            "ab",
	} {
		if got := manifest.Short(d); got != want {
			t.Errorf("%q: got %q, want %q", d, got, want)
		}
	}
}
