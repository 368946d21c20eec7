package manifest_test

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/manifest"
)

// FuzzParse checks that no document makes the parser panic, that a refusal has a reason, and that accepted digests and sizes are
// safe as file names and lengths.
func FuzzParse(f *testing.F) {
	anchored := regexp.MustCompile(`\Asha256:[0-9a-f]{64}\z`)
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := manifest.Parse(raw)
		if err != nil {
			if text := err.Error(); strings.TrimSpace(text) == "" || utf8.Valid(raw) && !utf8.ValidString(text) {
				t.Errorf("refused with %q", text)
			}
			return
		}
		if !json.Valid(raw) {
			t.Error("accepted what is not JSON")
		}
		var exact map[string]json.RawMessage // as seen by case-sensitive tools
		if err := json.Unmarshal(raw, &exact); err != nil {
			t.Fatal(err)
		}
		if name := map[bool]string{true: "manifests", false: "layers"}[m.List]; exact[name] == nil {
			t.Errorf("accepted without %q", name)
		}
		parts := m.Layers
		if m.List {
			if m.Layers != nil || m.Config.Digest != "" {
				t.Errorf("a list with the config %v and the layers %v", m.Config, m.Layers)
			}
			parts = nil
			for _, e := range m.Entries {
				parts = append(parts, e.Descriptor)
			}
		} else {
			if m.Entries != nil {
				t.Errorf("an image that lists %v", m.Entries)
			}
			parts = append(parts, m.Config)
		}
		for _, d := range parts {
			if !anchored.MatchString(string(d.Digest)) || d.Size < 0 {
				t.Errorf("accepted the digest %q, size %d", d.Digest, d.Size)
			}
		}
		seen := map[digest.Digest]bool{}
		for _, d := range m.Blobs() {
			if seen[d.Digest] {
				t.Errorf("%s is to be fetched twice", d.Digest)
			}
			seen[d.Digest] = true
		}
	})
}
