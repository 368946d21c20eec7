package request_test

import (
	"encoding/json"
	"errors"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/distribution/reference"

	"osbuild-containers/internal/request"
)

// FuzzDecode checks that no text makes the decoder panic, and that accepted values are safe: digests are plain digests, paths are
// absolute, and the library accepts the names.
func FuzzDecode(f *testing.F) {
	anchored := regexp.MustCompile(`\Asha256:[0-9a-f]{64}\z`)
	f.Fuzz(func(t *testing.T, source byte, raw []byte) {
		name := []string{skopeo, index, storage}[source%3]
		r, err := request.Decode(name, raw)
		if err != nil {
			refused, ok := errors.AsType[*request.Error](err)
			if !ok || len(refused.Problems) == 0 || strings.TrimSpace(err.Error()) == "" {
				t.Fatalf("got %v (%T), want a *request.Error that says something", err, err)
			}
			return
		}
		if !json.Valid(raw) {
			t.Errorf("accepted what is not JSON")
		}
		for i, item := range r.Items {
			if !anchored.MatchString(item.ID.String()) {
				t.Errorf("id %q", item.ID)
			}
			if i > 0 && r.Items[i-1].ID >= item.ID {
				t.Errorf("not sorted: %q before %q", r.Items[i-1].ID, item.ID)
			}
			if name == storage {
				continue
			}
			if (item.Image.Digest != "" || name == skopeo) && !anchored.MatchString(item.Image.Digest.String()) {
				t.Errorf("digest %q", item.Image.Digest)
			}
			if _, err := reference.ParseNormalizedNamed(item.Image.Name); err != nil {
				t.Errorf("name %q: %v", item.Image.Name, err)
			}
			if l := item.Image.StorageLocation; l != "" && !goodPath(l) {
				t.Errorf("storage location %q", l)
			}
		}
		if !goodPath(r.Cache) || r.Method == request.Copy && !goodPath(r.DstCache) {
			t.Errorf("cache %q, destination %q", r.Cache, r.DstCache)
		}
		if o := r.Options; o.Timeout <= 0 || o.StallTimeout <= 0 || o.MaxParallel < 1 || o.MaxParallel > 64 || o.Retries < 0 || o.Retries > 100 {
			t.Errorf("options %+v", o)
		}
	})
}

func goodPath(s string) bool { return filepath.IsAbs(s) && !strings.Contains(s, "\x00") }
