package atomicfile_test

import (
	"os"
	"path/filepath"
	"testing"

	"osbuild-containers/internal/atomicfile"
)

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

func TestFileIsCompleteOrAbsent(t *testing.T) {
	dir := t.TempDir()
	for _, content := range []string{"first", "second"} {
		before := len(names(t, dir))
		f, err := atomicfile.Create(dir, "name")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteString(content); err != nil {
			t.Fatal(err)
		}
		if n := names(t, dir); len(n) != before {
			t.Errorf("before it is complete there is %q", n)
		}
		if err := f.Commit(); err != nil {
			t.Fatal(err)
		}
		if err := f.SyncName(); err != nil {
			t.Error(err)
		}
		f.Discard()
		if got, err := os.ReadFile(filepath.Join(dir, "name")); err != nil || string(got) != content {
			t.Errorf("got %q, %v", got, err)
		}
		if n := names(t, dir); len(n) != 1 {
			t.Errorf("left is %q", n)
		}
	}
}

func TestADiscardedFileLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "name"), []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := atomicfile.Create(dir, "name")
	if err != nil {
		t.Fatal(err)
	}
	f.Discard()
	if got, err := os.ReadFile(filepath.Join(dir, "name")); err != nil || string(got) != "old" || len(names(t, dir)) != 1 {
		t.Errorf("got %q, %v, among %q", got, err, names(t, dir))
	}
}

func TestNamesThatAreRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "directory"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", ".", "..", "x/", "../x", "a/../../x", "x\x00y", "missing/x", "directory"} {
		f, err := atomicfile.Create(dir, name)
		if err == nil {
			f.Discard()
			t.Errorf("%q was taken", name)
		}
	}
}
