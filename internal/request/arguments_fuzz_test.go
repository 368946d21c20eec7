package request_test

import (
	"path/filepath"
	"strings"
	"testing"

	"osbuild-containers/internal/request"
)

// FuzzArguments searches for accepted arguments that lead outside an input.
func FuzzArguments(f *testing.F) {
	const options = `"options": {"destination": {"type": "oci", "path": "/x"}}`
	for _, images := range []string{
		`{"archives": {"x.tar": {"format": "oci-archive", "name": "n"}}, "files": {"a/b": {}}}`,
		`{"archives": {"../x": {"format": "dir", "name": "n"}}, "files": {"/a": {}}}`,
		`{"archives": {"` + strings.Repeat("a", 64) + `": {"format": "containers-storage", "name": "n", "storage": {"driver": 1}}}}`,
	} {
		f.Add([]byte(`{"tree": "/t", "inputs": {"images": {"path": "/i", "data": ` + images + `}}, ` + options + `, "meta": {"source-epoch": -1}}`))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		a, err := request.DecodeArguments("org.osbuild.skopeo", raw)
		if err != nil {
			return
		}
		in := a.Inputs["images"]
		if !filepath.IsAbs(a.Tree) || !filepath.IsAbs(in.Path) {
			t.Errorf("tree %q, input %q", a.Tree, in.Path)
		}
		below := func(path string) {
			if rel, err := filepath.Rel(in.Path, path); err != nil || !filepath.IsLocal(rel) {
				t.Errorf("%q is not below %q", path, in.Path)
			}
		}
		if images, err := in.Images(); err == nil {
			for _, i := range images {
				below(i.Path)
			}
		}
		if files, err := in.Files(); err == nil {
			for _, file := range files {
				below(file.Path)
			}
		}
	})
}
