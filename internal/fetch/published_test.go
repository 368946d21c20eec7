package fetch

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/cache"
	"osbuild-containers/test/images"
)

// published returns the files of the published image by name, or nil if there is none.
func (w *world) published(id digest.Digest) map[string][]byte {
	w.t.Helper()
	dir := cache.Open(w.cache).ImagePath(id)
	entries, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		w.t.Fatal(err)
	}
	files := make(map[string][]byte, len(entries))
	for _, e := range entries {
		if files[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name())); err != nil {
			w.t.Fatal(err)
		}
	}
	return files
}

// has fails the test unless the image is published byte for byte, with exactly these signatures.
func (w *world) has(img *images.Image, signatures ...string) {
	w.t.Helper()
	want := map[string][]byte{"version": []byte("Directory Transport Version: 1.1\n"), "manifest.json": img.Raw, img.ID.Encoded(): img.Config}
	for _, l := range img.Layers {
		want[l.Digest.Encoded()] = l.Blob
	}
	for i, s := range signatures {
		want["signature-"+string(rune('1'+i))] = []byte(s)
	}
	got := w.published(img.ID)
	if got == nil {
		w.t.Fatalf("image %s is not published", img.ID)
	}
	for name, content := range want {
		if !bytes.Equal(got[name], content) {
			w.t.Errorf("%s has %d bytes %.60q, want %d bytes %.60q", name, len(got[name]), got[name], len(content), content)
		}
		delete(got, name)
	}
	for name := range got {
		w.t.Errorf("%s should not be there", name)
	}
}

// nothing fails the test if anything is published.
func (w *world) nothing() {
	w.t.Helper()
	for _, pattern := range []string{"org.osbuild.containers/sha256*", "org.osbuild.files/*"} {
		if found, _ := filepath.Glob(filepath.Join(w.cache, pattern)); len(found) > 0 {
			w.t.Errorf("published although it failed: %v", found)
		}
	}
}

// partial returns the size of a partial download in the pool, or -1.
func (w *world) partial(d digest.Digest) int64 {
	fi, err := os.Stat(filepath.Join(w.cache, "org.osbuild.containers/.pool/partial", d.Encoded()))
	if err != nil {
		return -1
	}
	return fi.Size()
}

// setPartial writes a partial download to the pool, as a killed process would leave it.
func (w *world) setPartial(d digest.Digest, content []byte) {
	put(filepath.Join(w.cache, "org.osbuild.containers/.pool/partial", d.Encoded()), string(content))
}

// dropPool removes the pool, as an administrator may do at any time.
func (w *world) dropPool() {
	if err := os.RemoveAll(filepath.Join(w.cache, "org.osbuild.containers/.pool")); err != nil {
		w.t.Fatal(err)
	}
}

// ranges compares the Range headers of requests, "-" for none.
func ranges(t testing.TB, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("requests are [%s], want [%s]", strings.Join(got, ", "), strings.Join(want, ", "))
	}
}

func (w *world) listPath(d digest.Digest) string { return cache.Open(w.cache).FilePath(d) }

// list returns the manifest list published under d.
func (w *world) list(d digest.Digest) string {
	w.t.Helper()
	raw, err := os.ReadFile(w.listPath(d))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(raw)
}

// listOf returns the manifest list stored with an image pinned through it, or "".
func (w *world) listOf(id digest.Digest) string {
	raw, _ := os.ReadFile(filepath.Join(filepath.Dir(cache.Open(w.cache).ImagePath(id)), "manifest-list.json"))
	return string(raw)
}
