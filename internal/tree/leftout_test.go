package tree

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Only names that were left out, and links to them, may be missing; any other missing name is an error.
func TestOnlyWhatWasLeftOutMayBeMissing(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "dev"), 0o755); err != nil {
		t.Fatal(err)
	}
	r, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	r.Unsupported = func(string, string, string) {}
	r.leaveOut("dev/console")
	m := Meta{UID: os.Getuid(), GID: os.Getgid(), Mode: 0o644}
	for name, err := range map[string]error{
		"link": r.Link("dev/again", "dev/console"), "link to the link": r.Link("third", "dev/again"), "metadata": r.SetMeta("dev/console", m, false),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, err := range map[string]error{"link": r.Link("other", "dev/missing"), "metadata": r.SetMeta("dev/missing", m, false)} {
		if err == nil {
			t.Errorf("%s: no error (%v) of a name that was not left out", name, unix.ENOENT)
		}
	}
}
