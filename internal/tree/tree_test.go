package tree

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// open returns a tree, and a directory with a file next to it.
func open(t *testing.T) (r *Root, path, outside string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can give files to others")
	}
	top := t.TempDir()
	path, outside = filepath.Join(top, "tree"), filepath.Join(top, "outside")
	for _, d := range []string{path, outside} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(outside, "canary"), []byte("sings"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.Close()
		if b, err := os.ReadFile(filepath.Join(outside, "canary")); err != nil || string(b) != "sings" {
			t.Errorf("the file outside the tree is %q, error %v", b, err)
		}
		if names, err := os.ReadDir(outside); err != nil || len(names) != 1 {
			t.Errorf("next to the tree there are %v, error %v", names, err)
		}
	})
	return r, path, outside
}

var plain = Meta{Mode: 0o644, ModTime: time.Unix(1700000000, 1)}

// Tries every kind of name that leads outside, with every operation.
func TestNoOperationLeavesTheRoot(t *testing.T) {
	r, path, outside := open(t)
	for name, target := range map[string]string{"rel": "../outside", "abs": outside, "file": outside + "/canary", "root": "/", "self": "/proc/self/cwd"} {
		if err := os.Symlink(target, filepath.Join(path, name)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Mkdir("d"); err != nil {
		t.Fatal(err)
	}
	if err := create(r, "d/f"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"..", "../outside/canary", "/etc/x", "d/../../outside/canary", "rel/canary", "rel/new", "abs/canary", "abs/new", "root/x",
		"self/x", "", ".", "d//x", "d/./x", "d/..", "x/", "a\x00b", "rel/..", "d/.", "rel/sub/x", "file/x",
	} {
		for op, do := range map[string]func() error{
			"mkdir":   func() error { _, err := r.Mkdir(name); return err },
			"create":  func() error { return create(r, name) },
			"symlink": func() error { return r.Symlink(name, "x", plain) },
			"mknod":   func() error { return r.Mknod(name, unix.S_IFIFO, 0, 0, plain) },
			"link":    func() error { return r.Link(name, "d/f") },
			"link to": func() error { return r.Link("d/linked", name) },
			"remove":  func() error { return r.Remove(name) },
			"set dir": func() error {
				if name == "." {
					return ErrName // the root is a directory
				}
				return r.SetDir(name, plain, true)
			},
		} {
			if err := do(); err == nil {
				t.Errorf("%s %q: no error", op, name)
			}
		}
		if _, ok := r.Readlink(name); ok {
			t.Errorf("readlink %q finds something", name)
		}
		if name != "." && r.Exists(name) {
			t.Errorf("%q exists", name)
		}
	}
	if names, err := os.ReadDir(path); err != nil || len(names) != 6 {
		t.Errorf("the tree has %v, error %v", names, err)
	}
}

func create(r *Root, name string) error {
	f, err := r.Create(name, false, plain)
	if err != nil {
		return err
	}
	if _, err := f.Write([]byte("content")); err != nil {
		return err
	}
	return f.Close()
}

// The last component is never followed, and existing files are replaced.
func TestLinksInTheWayAreReplaced(t *testing.T) {
	r, path, outside := open(t)
	for op, do := range map[string]func(name string) error{
		"create":  func(name string) error { return create(r, name) },
		"symlink": func(name string) error { return r.Symlink(name, "x", plain) },
		"mknod":   func(name string) error { return r.Mknod(name, unix.S_IFIFO, 0, 0, plain) },
		"remove":  r.Remove,
	} {
		if err := os.Symlink(outside+"/canary", filepath.Join(path, op)); err != nil {
			t.Fatal(err)
		}
		if err := do(op); err != nil {
			t.Errorf("%s: %v", op, err)
		}
		if target, err := os.Readlink(filepath.Join(path, op)); err == nil && target != "x" {
			t.Errorf("%s: the link to %s is still there", op, target)
		}
	}
	if _, err := r.Mkdir("create"); !errors.Is(err, ErrNotDir) {
		t.Errorf("a directory over a file: error %v", err)
	}
	if _, err := r.Mkdir("d"); err != nil {
		t.Fatal(err)
	}
	if err := create(r, "d"); !errors.Is(err, ErrIsDir) {
		t.Errorf("a file over a directory: error %v", err)
	}
}

// A directory replaced by a link while its handle is cached does not lead outside.
func TestReplacedDirectoryIsNotFollowed(t *testing.T) {
	r, path, outside := open(t)
	if _, err := r.Mkdir("d"); err != nil {
		t.Fatal(err)
	}
	if err := create(r, "d/a"); err != nil {
		t.Fatal(err)
	}
	if err := r.Remove("d"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(path, "d")); err != nil {
		t.Fatal(err)
	}
	if err := create(r, "d/canary"); !errors.Is(err, ErrNotDir) {
		t.Errorf("error %v, want %v", err, ErrNotDir)
	}
}

func TestManyAndDeepDirectories(t *testing.T) {
	r, path, _ := open(t)
	var names []string
	for i := range 2 * maxDirs {
		name := fmt.Sprintf("d%d", i)
		if _, err := r.Mkdir(name); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
	}
	for _, name := range names {
		if err := create(r, name+"/f"); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(r.dirs.open); n > maxDirs {
		t.Errorf("%d directories are open, want at most %d", n, maxDirs)
	}
	deep := "deep" // longer than any path that the kernel takes at once
	for range 100 {
		if _, err := r.Mkdir(deep); err != nil {
			t.Fatal(err)
		}
		deep += "/" + strings.Repeat("x", 100)
	}
	if err := create(r, deep); err != nil {
		t.Fatal(err)
	}
	if err := r.Remove("deep"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(filepath.Join(path, "deep")); err == nil {
		t.Error("the deep directories are still there")
	}
}

// TestModeOfFiles checks that a file gets its mode whatever the umask and the directory, and grants no more access before.
func TestModeOfFiles(t *testing.T) {
	r, path, _ := open(t)
	if _, err := r.Mkdir("setgid"); err != nil {
		t.Fatal(err)
	}
	if err := r.SetDir("setgid", Meta{Mode: 0o2755, GID: 7}, false); err != nil {
		t.Fatal(err)
	}
	r.dirs.forget("setgid")
	defer unix.Umask(unix.Umask(0))
	for _, umask := range []int{0, 0o22, 0o77} {
		unix.Umask(umask)
		for _, dir := range []string{".", "setgid"} {
			for _, m := range []Meta{
				{Mode: 0o644},
				{Mode: 0o755},
				{Mode: 0o666},
				{Mode: 0},
				{Mode: 0o4755},
				{Mode: 0o6711},
				{Mode: 0o1777},
				{Mode: 0o640, UID: 5, GID: 6},
				{Mode: 0o4750, UID: 5, GID: 6},
				{Mode: 0o644, Xattrs: map[string]string{"user.x": "1"}},
			} {
				name := filepath.Join(dir, "f")
				f, err := r.Create(name, false, m)
				if err != nil {
					t.Fatal(err)
				}
				var before, st unix.Stat_t
				if err := unix.Lstat(filepath.Join(path, name), &before); err != nil {
					t.Fatal(err)
				}
				early := before.Mode & 0o7777
				if right := early&^m.Mode == 0 && int(before.Uid) == m.UID && int(before.Gid) == m.GID; !right && early&0o7177 != 0 {
					t.Errorf("umask %03o, %s, %+v: mode %04o while it is written", umask, dir, m, early)
				}
				r.Unsupported = func(string, string, string) {}
				if err := f.Close(); err != nil {
					t.Fatal(err)
				}
				if err := unix.Lstat(filepath.Join(path, name), &st); err != nil || st.Mode&0o7777 != m.Mode || int(st.Uid) != m.UID || int(st.Gid) != m.GID {
					t.Errorf("umask %03o, %s, %+v: mode %04o, owner %d:%d, error %v", umask, dir, m, st.Mode&0o7777, st.Uid, st.Gid, err)
				}
			}
		}
	}
}

func TestHolesBlockByBlock(t *testing.T) {
	r, path, _ := open(t)
	want := make([]byte, 10*block+7)
	copy(want[block-1:], "ab")
	want[5*block] = 1
	for _, step := range []int{1000, block, block + 1, len(want)} {
		f, err := r.Create("f", true, plain)
		if err != nil {
			t.Fatal(err)
		}
		for rest := want; len(rest) > 0; {
			n := min(step, len(rest))
			if _, err := f.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(path, "f"))
		if err != nil || string(got) != string(want) {
			t.Errorf("steps of %d: %d bytes that differ, error %v", step, len(got), err)
		}
	}
}

func TestUnsupportedAttributes(t *testing.T) {
	r, _, _ := open(t)
	with := func(name string) Meta { m := plain; m.Xattrs = map[string]string{name: "1"}; return m }
	if err := r.Symlink("a", "x", with("nonsense.x")); err == nil {
		t.Error("an unknown attribute: no error without a listener")
	}
	var told []string
	r.Unsupported = func(name, attr, why string) { told = append(told, name+" "+attr+": "+why) }
	if err := r.Symlink("b", "x", with("nonsense.x")); err != nil || len(told) != 1 || told[0] != "b nonsense.x: "+noAttributes {
		t.Errorf("told %q, error %v", told, err)
	}
	told = nil
	if err := r.Symlink("c", "x", with("user.x")); err != nil || len(told) != 1 || told[0] != "c user.x: "+noUserAttributes {
		t.Errorf("told %q, error %v", told, err)
	}
	if err := r.Mknod("d", unix.S_IFIFO, 0, 0, with("user.x")); err != nil || len(told) != 2 {
		t.Errorf("told %q, error %v", told, err)
	}
}

func TestSetDirKeepsFewDirectoriesOpen(t *testing.T) {
	r, _, _ := open(t)
	const dirs = 3 * maxDirs
	for i := range dirs {
		if _, err := r.Mkdir(fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	for i := range dirs {
		if err := r.SetDir(fmt.Sprint(i), plain, false); err != nil {
			t.Fatal(err)
		}
	}
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) > maxDirs+50 {
		t.Errorf("%d files are open", len(files))
	}
}
