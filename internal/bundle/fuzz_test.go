package bundle

import (
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"osbuild-containers/internal/cache"
	"osbuild-containers/test/images"
)

// FuzzImport imports arbitrary input: what is visible afterwards must be complete and correct.
func FuzzImport(f *testing.F) {
	img, saving := images.New(images.Layer(50)), plain(1, 40, 30)
	list := images.NewList(images.Of(img))
	for _, files := range [][]file{
		layoutOf([]map[string]any{entry(list.Raw, v1.MediaTypeImageIndex, "example.com/app:1")}, append(blobsOf(img), list.Raw)...),
		saved(saving, asIs, "app:1"), saved(saving, zipped, "app:1"),
		oldSave(saving, `{"app": {"1": "TOP"}}`),
		{{"manifest.json", img.Raw}, {img.ID.Encoded(), img.Config}, {img.Layers[0].Digest.Encoded(), img.Layers[0].Blob}},
	} {
		raw, err := os.ReadFile(write(f, files...))
		must(f, err)
		f.Add(raw)
		f.Add(zipped(raw))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		dir, err := os.MkdirTemp("/dev/shm", "bundle-test-") //nolint:usetesting // nothing is synced there
		if err != nil {
			dir = t.TempDir()
		}
		defer os.RemoveAll(dir)
		path := filepath.Join(dir, "images.tar")
		must(t, os.WriteFile(path, raw, 0o644))
		into := filepath.Join(dir, "cache")
		done, err := Import(t.Context(), cache.Open(into), path, ImportOptions{}, nil)
		if err != nil {
			return
		}
		for _, r := range done.Results {
			if r.Kind == "image" && r.State == Added {
				wantImage(t, into, r.ID)
			}
		}
		ids, err := cache.Open(into).Images()
		must(t, err)
		for _, id := range ids {
			wantImage(t, into, id)
		}
	})
}
