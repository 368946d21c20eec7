package manifest

import (
	"errors"
	"strings"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"osbuild-containers/test/images"
)

// Artifacts in the form of an image are parsed for their parts; documents that Parse refuses for other reasons stay refused.
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

// A document with an image's config but no file system is not an image: BuildKit's attestations, cosign's signatures and SBOMs.
func TestNoFileSystem(t *testing.T) {
	of := func(layers ...string) string {
		const digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
		var all []string
		for _, l := range layers {
			all = append(all, `{"mediaType": "`+l+`", "digest": "`+digest+`", "size": 1}`)
		}
		return `{"schemaVersion": 2, "config": {"mediaType": "` + v1.MediaTypeImageConfig + `", "digest": "` + digest + `", "size": 1}, "layers": [` + strings.Join(all, ",") + `]}`
	}
	for _, kind := range []string{
		"application/vnd.in-toto+json", "application/vnd.dev.cosign.simplesigning.v1+json", "application/vnd.dsse.envelope.v1+json",
		"text/spdx+json", "text/spdx", "application/vnd.cyclonedx+json", "application/vnd.cyclonedx+xml", "application/vnd.syft+json", "application/wasm",
	} {
		if _, err := Parse([]byte(of(kind, kind))); !errors.Is(err, ErrArtifact) || !strings.Contains(err.Error(), kind) {
			t.Errorf("%s: got %v", kind, err)
		}
		if m, err := ParseAny([]byte(of(kind))); err != nil || len(m.Layers) != 1 {
			t.Errorf("%s: ParseAny: %v, %v", kind, m, err)
		}
	}
	const layer = "application/vnd.oci.image.layer.v1.tar"
	for _, layers := range [][]string{
		{},
		{""},
		{layer},
		{layer + "+gzip"},
		{layer + "+zstd"},
		{layer + "+gzip+encrypted"},
		{"application/octet-stream"},
		{"application/x-gzip"},
		{"application/vnd.oci.image.layer.nondistributable.v1.tar+gzip"},
		{"application/vnd.docker.image.rootfs.diff.tar.gzip"},
		{"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"},
		{layer, "application/vnd.in-toto+json"},
	} {
		if _, err := Parse([]byte(of(layers...))); err != nil {
			t.Errorf("%q: %v", layers, err)
		}
	}
}
