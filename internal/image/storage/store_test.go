package storage

import (
	"os"
	"path/filepath"
	"testing"
)

// TestJoinStores pairs files of an image store and of the graph root with what is in the store that joins them.
func TestJoinStores(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	store, root, joined := filepath.Join(dir, "store"), filepath.Join(dir, "root"), filepath.Join(dir, "joined")
	put := func(path, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	put(store+"/overlay-images/images.json", "store")
	put(store+"/overlay-layers/layers.json", "store")
	put(store+"/overlay/1/link", "store")
	put(root+"/overlay-images/images.json", "root")
	put(root+"/overlay-layers/layers.json", "root")
	put(root+"/overlay-layers/1.tar-split.gz", "root")
	put(root+"/overlay/2/link", "root")
	put(root+"/overlay-containers/containers.json", "root")
	if err := joinStores(joined, store, root, "overlay"); err != nil {
		t.Fatal(err)
	}
	put(store+"/overlay-layers/layers.json", "store, written later")
	for name, want := range map[string]string{
		"overlay-images/images.json":         "store",
		"overlay-layers/layers.json":         "store, written later",
		"overlay-layers/1.tar-split.gz":      "root",
		"overlay/1/link":                     "store",
		"overlay/2/link":                     "",
		"overlay-containers/containers.json": "",
	} {
		got, err := os.ReadFile(filepath.Join(joined, name))
		if string(got) != want || (err == nil) != (want != "") {
			t.Errorf("%s: got %q, %v, want %q", name, got, err, want)
		}
	}
	if err := joinStores(filepath.Join(dir, "without"), store, filepath.Join(dir, "none"), "overlay"); err != nil {
		t.Errorf("without a graph root: %v", err)
	}
}
