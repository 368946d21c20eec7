package ocilayout

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"osbuild-containers/internal/manifest"
)

// A panic while copying a blob is an error.
func TestEachPanic(t *testing.T) {
	err := each(t.Context(), make([]manifest.Descriptor, 2), func(context.Context, manifest.Descriptor) error { panic("oh") })
	if err == nil || !strings.Contains(err.Error(), "internal error: oh") {
		t.Errorf("got %v", err)
	}
}

// A Completer leaves correct data and writes the rest.
func TestCompleter(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("abcdef"), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := os.Open(path) // read-only
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	w := &Completer{File: file}
	for _, c := range []struct {
		data string
		at   int64
		same bool
	}{{"abc", 0, true}, {"def", 3, true}, {"cd", 2, true}, {"abx", 0, false}, {"defg", 3, false}, {"g", 6, false}} {
		if n, err := w.WriteAt([]byte(c.data), c.at); (err == nil && n == len(c.data)) != c.same {
			t.Errorf("%s at %d: %d, %v", c.data, c.at, n, err)
		}
	}
}
