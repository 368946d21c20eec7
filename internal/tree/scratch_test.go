package tree

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// TestScratchAndTheTimeOfTheRoot checks that the root's time is restored, unless something was created in it.
func TestScratchAndTheTimeOfTheRoot(t *testing.T) {
	for _, made := range []bool{false, true} {
		r, path, _ := open(t)
		old := unix.Timespec{Sec: 1000, Nsec: 5}
		if err := unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{old, old}, 0); err != nil {
			t.Fatal(err)
		}
		s, remove, err := r.Scratch()
		if err != nil {
			t.Fatal(err)
		}
		if err := create(s, "1"); err != nil {
			t.Fatal(err)
		}
		if made {
			if err := create(r, "f"); err != nil {
				t.Fatal(err)
			}
		}
		if err := remove(); err != nil {
			t.Fatal(err)
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil || (st.Mtim == old) == made {
			t.Errorf("something made: %v: the root has the time %v, error %v", made, st.Mtim, err)
		}
	}
}

// TestScratchInTheDirectoryOfAnother checks that Scratch fails if the root's time could not be restored.
func TestScratchInTheDirectoryOfAnother(t *testing.T) {
	r, path, _ := open(t)
	if err := os.Chmod(path, 0o777); err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread() // the thread ends with the goroutine if the user cannot be restored
	if err := unix.Setfsuid(4711); err != nil {
		t.Fatal(err)
	}
	_, _, err := r.Scratch()
	if err := unix.Setfsuid(0); err != nil {
		t.Fatal(err)
	}
	runtime.UnlockOSThread()
	if !errors.Is(err, unix.EPERM) {
		t.Errorf("got error %v, want %v", err, unix.EPERM)
	}
	if names, err := os.ReadDir(path); err != nil || len(names) > 0 {
		t.Errorf("the tree has %v, error %v", names, err)
	}
}

// TestMove checks what a moved file replaces, and when it is not moved.
func TestMove(t *testing.T) {
	r, path, outside := open(t)
	s, remove, err := r.Scratch()
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := remove(); err != nil {
			t.Error(err)
		}
	}()
	for _, name := range []string{"d", "labelled"} {
		if _, err := r.Mkdir(name); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Setxattr(filepath.Join(path, "labelled"), selinux, []byte("system_u:object_r:etc_t:s0\x00"), 0); err != nil {
		t.Skip(err) // SELinux is enabled, or attributes are not supported
	}
	for name, target := range map[string]string{"link": outside + "/canary", "dangling": "nowhere", "up": outside} {
		if err := os.Symlink(target, filepath.Join(path, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := create(r, "file"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Mkdir("in"); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]error{
		"new": nil, "file": nil, "link": nil, "dangling": nil, "d/new": nil,
		"d": ErrIsDir, "up/canary": ErrNotDir, "file/x": ErrNotDir, "../outside/x": ErrName, "": ErrName, "none/x": unix.ENOENT,
		"labelled/f": unix.EXDEV,
	} {
		if err := create(s, "in/1"); err != nil {
			t.Fatal(err)
		}
		err := r.Move(name, s, "in/1")
		if !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("%s: got error %v, want %v", name, err, want)
		}
		if err != nil {
			continue
		}
		if st, err := os.Lstat(filepath.Join(path, name)); err != nil || !st.Mode().IsRegular() {
			t.Errorf("%s: %v, error %v", name, st, err)
		}
	}
	for _, old := range []string{"../file", "..", "in/../1", "in/", ""} {
		if err := r.Move("f", s, old); !errors.Is(err, ErrName) {
			t.Errorf("%q, outside the scratch directory: error %v", old, err)
		}
	}
}

// TestScratchDoesNotInherit checks that a file from Scratch has only the metadata in Meta, even if the root hands down an ACL and group.
func TestScratchDoesNotInherit(t *testing.T) {
	r, path, _ := open(t)
	r.Close()
	const acl = "\x02\x00\x00\x00" + "\x01\x00\x07\x00\xff\xff\xff\xff" + "\x02\x00\x07\x00\xe8\x03\x00\x00" +
		"\x04\x00\x07\x00\xff\xff\xff\xff" + "\x10\x00\x07\x00\xff\xff\xff\xff" + "\x20\x00\x07\x00\xff\xff\xff\xff"
	if err := unix.Setxattr(path, aclDefault, []byte(acl), 0); err != nil {
		t.Skip(err)
	}
	if err := errors.Join(unix.Chown(path, 0, 7), unix.Chmod(path, 0o2755)); err != nil {
		t.Fatal(err)
	}
	again, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	*r = *again
	s, remove, err := r.Scratch()
	if err != nil {
		t.Fatal(err)
	}
	layer, err := s.Sub("3")
	if err == nil {
		err = errors.Join(create(layer, "1"), r.Move("f", layer, "1"), layer.Close(), remove())
	}
	if err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(filepath.Join(path, "f"), &st); err != nil || st.Gid != 0 || st.Mode&0o7777 != plain.Mode {
		t.Errorf("group %d, mode %o, error %v", st.Gid, st.Mode, err)
	}
	if _, err := unix.Getxattr(filepath.Join(path, "f"), aclAccess, nil); !absent(err) {
		t.Errorf("an ACL, error %v", err)
	}
}
