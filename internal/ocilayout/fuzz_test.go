package ocilayout_test

import (
	"os"
	"path/filepath"
	"testing"

	"osbuild-containers/internal/ocilayout"
	"osbuild-containers/test/images"
	"osbuild-containers/test/inputs"
)

// FuzzArchive opens arbitrary archives: blobs of those that open have the sizes in the manifest.
func FuzzArchive(f *testing.F) {
	one, two := images.New(images.Layer(10)), images.New(images.Docker(), images.Layers(2, 600))
	f.Add(inputs.Archive(one))
	f.Add(inputs.Archive(two))
	f.Add(inputs.Archive(one, two))
	f.Add(compressed(inputs.Archive(two)))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "a.tar")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		img, err := ocilayout.OpenArchive(path)
		if err != nil {
			return
		}
		defer img.Close()
		for _, d := range img.Manifest().Blobs() {
			b, err := img.Blob(d)
			if err != nil {
				continue
			}
			if n, err := b.Reader().Seek(0, 2); err != nil || n != d.Size {
				t.Errorf("%d bytes, want %d, %v", n, d.Size, err)
			}
			if _, err := b.File.ReadAt(make([]byte, 1), b.Offset+b.Size-1); b.Size > 0 && err != nil {
				t.Errorf("the last byte: %v", err)
			}
		}
	})
}
