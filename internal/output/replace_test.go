package output_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"osbuild-containers/internal/output"
)

// TestReplace looks at what stays of a file whose content is replaced through a link.
func TestReplace(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "real"), filepath.Join(dir, "link")
	stat := func() *syscall.Stat_t {
		t.Helper()
		info, err := os.Lstat(file)
		if err != nil {
			t.Fatal(err)
		}
		return info.Sys().(*syscall.Stat_t)
	}
	if err := output.Replace(file, []byte("new")); err != nil {
		t.Fatal(err)
	}
	if mode := stat().Mode & 0o777; mode&^0o644 != 0 || mode&0o600 != 0o600 {
		t.Errorf("the mode of a new file is %o", mode)
	}
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	owner := uint32(os.Getuid())
	if owner == 0 {
		owner = 1234
		if err := os.Chown(file, int(owner), int(owner)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("real", link); err != nil {
		t.Fatal(err)
	}
	before := stat()
	if err := output.Replace(link, []byte("newer")); err != nil {
		t.Fatal(err)
	}
	after := stat()
	if after.Uid != owner || after.Mode != before.Mode {
		t.Errorf("owner %d, mode %o; before %d, %o", after.Uid, after.Mode, before.Uid, before.Mode)
	}
	if after.Ino == before.Ino {
		t.Error("the file was written in place")
	}
	if got, err := os.ReadFile(link); err != nil || string(got) != "newer" {
		t.Errorf("%q, %v", got, err)
	}
	if all := names(t, dir); len(all) != 2 {
		t.Errorf("in the folder are %v", all)
	}
	if err := output.Replace(filepath.Join(dir, "none", "file"), nil); err == nil {
		t.Error("a file was written into a folder that is not there")
	}
}
