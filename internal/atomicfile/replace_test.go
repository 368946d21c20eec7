package atomicfile_test

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"osbuild-containers/internal/atomicfile"
)

// TestReplace checks what stays of a file whose content is replaced through a link.
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
	if err := atomicfile.Replace(file, []byte("new")); err != nil {
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
	if err := atomicfile.Replace(link, []byte("newer")); err != nil {
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
		t.Errorf("in the directory are %v", all)
	}
	for what, path := range map[string]string{
		"a directory that is not there": filepath.Join(dir, "none", "file"),
		"a link to nothing":             filepath.Join(dir, "dangling"),
		"no name":                       "",
	} {
		if what == "a link to nothing" {
			if err := os.Symlink("nothing", path); err != nil {
				t.Fatal(err)
			}
		}
		if err := atomicfile.Replace(path, nil); err == nil {
			t.Errorf("%s: it was written", what)
		}
	}
}

// A new file gets the group of a setgid directory.
func TestReplaceInSetgidDirectory(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can give a directory to a group")
	}
	dir := t.TempDir()
	if err := os.Chown(dir, 0, 1234); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755|os.ModeSetgid); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "file")
	if err := atomicfile.Replace(file, nil); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if group := info.Sys().(*syscall.Stat_t).Gid; group != 1234 {
		t.Errorf("the group is %d", group)
	}
}

// A user who cannot give the file back to its owner at least keeps its group.
func TestReplaceByAMemberOfTheGroup(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can become another user")
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	for _, err := range []error{
		os.Chmod(filepath.Dir(dir), 0o755), os.Chown(dir, 0, 1234), os.Chmod(dir, 0o775),
		os.WriteFile(file, nil, 0o660), os.Chown(file, 1000, 1234), os.Chmod(file, 0o660),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread runs as another user and ends with the goroutine
		group := uint32(1234)
		if _, _, e := syscall.RawSyscall(unix.SYS_SETGROUPS, 1, uintptr(unsafe.Pointer(&group)), 0); e != 0 {
			done <- e
			return
		}
		if err := errors.Join(unix.Setfsgid(1001), unix.Setfsuid(1001)); err != nil {
			done <- err
			return
		}
		done <- atomicfile.Replace(file, []byte("new"))
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Sys().(*syscall.Stat_t); got.Uid != 1001 || got.Gid != 1234 || got.Mode&0o777 != 0o660 {
		t.Errorf("owner %d, group %d, mode %o", got.Uid, got.Gid, got.Mode&0o777)
	}
}

// A file of another user in a world-writable directory is neither followed nor replaced, and only regular files are.
func TestReplaceRefuses(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can make files of other users")
	}
	precious := filepath.Join(t.TempDir(), "precious")
	for name, put := range map[string]func(path string) error{
		"a link":          func(path string) error { return os.Symlink(precious, path) },
		"a file":          func(path string) error { return os.WriteFile(path, nil, 0o666) },
		"a pipe":          func(path string) error { return unix.Mkfifo(path, 0o666) },
		"root's pipe":     func(path string) error { return unix.Mkfifo(path, 0o666) },
		"a link to a tty": func(path string) error { return os.Symlink("/dev/tty", path) },
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "file")
		if err := errors.Join(os.WriteFile(precious, nil, 0o600), os.Chmod(dir, 0o777|os.ModeSticky), put(path)); err != nil {
			t.Fatal(err)
		}
		if name != "root's pipe" {
			if err := os.Lchown(path, 1234, 1234); err != nil {
				t.Fatal(err)
			}
		}
		before, _ := os.Lstat(path)
		if err := atomicfile.Replace(path, []byte("new")); err == nil {
			t.Errorf("%s: it was written", name)
		}
		after, err := os.Lstat(path)
		if err != nil || !os.SameFile(before, after) || len(names(t, dir)) != 1 {
			t.Errorf("%s: it was replaced: %v, %v", name, err, names(t, dir))
		}
		if got, err := os.ReadFile(precious); err != nil || len(got) > 0 {
			t.Errorf("%s: it was followed: %q, %v", name, got, err)
		}
	}
}
