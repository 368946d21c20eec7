package crash_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/test/images"
)

const (
	containers = "org.osbuild.containers"
	files      = "org.osbuild.files"
)

// imagePath returns where an image is published.
func imagePath(cache string, img *images.Image) string {
	return filepath.Join(cache, containers, img.ID.String(), "image")
}

// digestOf returns the digest of a file.
func digestOf(path string) (digest.Digest, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return digest.FromReader(f)
}

// wantFile compares a file with a digest.
func wantFile(path string, want digest.Digest) error {
	got, err := digestOf(path)
	if err == nil && got != want {
		err = fmt.Errorf("%s has the digest %s", path, got)
	}
	return err
}

// checkImage compares all of a published image.
func checkImage(cache string, img *images.Image) error {
	dir := imagePath(cache, img)
	want := map[string]digest.Digest{"manifest.json": img.Digest, img.ID.Encoded(): img.ID, "version": ""}
	for _, l := range img.Layers {
		want[l.Digest.Encoded()] = l.Digest
	}
	names, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range names {
		d, expected := want[n.Name()]
		if !expected {
			errs = append(errs, fmt.Errorf("%s does not belong there", n.Name()))
		}
		if d != "" {
			errs = append(errs, wantFile(filepath.Join(dir, n.Name()), d))
		}
		delete(want, n.Name())
	}
	for name := range want {
		errs = append(errs, fmt.Errorf("%s/%s is missing", dir, name))
	}
	return errors.Join(errs...)
}

// verify reads everything with a published name or in the pool, all of which must be complete and correct. It returns the number of
// images and lists.
func verify(t testing.TB, cache string, imgs ...*images.Image) (published int) {
	t.Helper()
	known := map[string]*images.Image{}
	for _, img := range imgs {
		known[img.ID.String()] = img
	}
	dirs, _ := filepath.Glob(filepath.Join(cache, containers, "sha256:*", "image"))
	for _, dir := range dirs {
		img := known[filepath.Base(filepath.Dir(dir))]
		if img == nil {
			t.Errorf("%s was not asked for", dir)
		} else if err := checkImage(cache, img); err != nil {
			t.Error(err)
		}
	}
	lists, _ := filepath.Glob(filepath.Join(cache, files, "sha256:*"))
	for _, path := range lists {
		if err := wantFile(path, digest.Digest(filepath.Base(path))); err != nil {
			t.Error(err)
		}
	}
	blobs, _ := filepath.Glob(filepath.Join(cache, containers, ".pool", "blobs", "sha256", "*"))
	for _, path := range blobs {
		if err := wantFile(path, digest.NewDigestFromEncoded(digest.SHA256, filepath.Base(path))); err != nil {
			t.Error(err)
		}
	}
	return len(dirs) + len(lists)
}

// wantAll fails the test unless all images are published and nothing else is left.
func wantAll(t testing.TB, cache string, imgs ...*images.Image) {
	t.Helper()
	if n := verify(t, cache, imgs...); n != len(imgs) {
		t.Errorf("%d of %d images are published", n, len(imgs))
	}
	wantNothingLeft(t, cache, true)
}

// wantNothingLeft fails the test on unneeded files. Partial downloads may still be needed.
func wantNothingLeft(t testing.TB, cache string, partialToo bool) {
	t.Helper()
	patterns := []string{".pool/staging/*", "sha256:*/image-*", "../" + files + "/.*"}
	if partialToo {
		patterns = append(patterns, ".pool/partial/*")
	}
	for _, p := range patterns {
		left, err := filepath.Glob(filepath.Join(cache, containers, p))
		must(t, err)
		if len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
	}
}

// partialBytesOf returns how much of a layer is there of an interrupted download.
func partialBytesOf(cache string, layer images.LayerInfo) int64 {
	return sizesIn(cache, "partial")[layer.Digest.Encoded()]
}

// partialBytes returns the size of interrupted downloads.
func partialBytes(cache string) int64 { return bytesIn(cache, "partial") }

// pooledBytes returns the size of complete blobs.
func pooledBytes(cache string) int64 { return bytesIn(cache, "blobs/sha256") }

func bytesIn(cache, dir string) int64 {
	var sum int64
	for _, size := range sizesIn(cache, dir) {
		sum += size
	}
	return sum
}

// keptBytes returns the stored size of each blob.
func keptBytes(cache string) map[string]int64 {
	kept := sizesIn(cache, "partial")
	maps.Copy(kept, sizesIn(cache, "blobs/sha256"))
	return kept
}

func sizesIn(cache, dir string) map[string]int64 {
	sizes := map[string]int64{}
	names, _ := filepath.Glob(filepath.Join(cache, containers, ".pool", dir, "*"))
	for _, path := range names {
		if fi, err := os.Stat(path); err == nil {
			sizes[filepath.Base(path)] = fi.Size()
		}
	}
	return sizes
}

// copyTree copies a directory without following links.
func copyTree(t testing.TB, from, to string) {
	t.Helper()
	must(t, filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		dest := filepath.Join(to, rel)
		if d.IsDir() {
			return os.MkdirAll(dest, 0o755)
		}
		src, err := os.Open(path)
		if err != nil {
			return err
		}
		defer src.Close()
		dst, err := os.Create(dest)
		if err != nil {
			return err
		}
		_, err = io.Copy(dst, src)
		return errors.Join(err, dst.Close())
	}))
}
