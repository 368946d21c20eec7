package cache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"osbuild-containers/test/userns"
)

// TestHintIsForTheCache shows that the cache's disk and rights are blamed only for what happens in the cache.
func TestHintIsForTheCache(t *testing.T) {
	c := Open("/some/cache")
	for name, tc := range map[string]struct {
		err  error
		want string
	}{
		"full":             {&fs.PathError{Op: "write", Path: "/some/cache/.pool/partial/x", Err: unix.ENOSPC}, "disk of the cache is full"},
		"quota":            {&fs.PathError{Op: "write", Path: "/some/cache/.pool/partial/x", Err: unix.EDQUOT}, "disk of the cache is full"},
		"read-only":        {&fs.PathError{Op: "mkdir", Path: "/some/cache", Err: unix.EROFS}, "must be writable"},
		"no right":         {fmt.Errorf("open the pool: %w", &fs.PathError{Op: "open", Path: "/some/cache/.pool", Err: unix.EACCES}), "must be writable"},
		"link":             {&os.LinkError{Op: "rename", Old: "/elsewhere/a", New: "/some/cache/b", Err: unix.EACCES}, "must be writable"},
		"no parent":        {&fs.PathError{Op: "mkdir", Path: "/some", Err: unix.EACCES}, "must be writable"},
		"impossible":       {&fs.PathError{Op: "mkdir", Path: "/some/cache", Err: unix.ENOENT}, "name another directory"},
		"root":             {&fs.PathError{Op: "mkdir", Path: "/", Err: unix.EROFS}, "must be writable"},
		"file above":       {&fs.PathError{Op: "open", Path: "/some", Err: unix.EACCES}, ""},
		"near":             {&fs.PathError{Op: "mkdir", Path: "/some/cach", Err: unix.EACCES}, ""},
		"of another user":  {&foreignError{"/some/cache/.pool", "is a symbolic link"}, foreignHint.Field},
		"a file elsewhere": {&fs.PathError{Op: "open", Path: "/run/containers/0/auth.json", Err: unix.EACCES}, ""},
		"a full TMPDIR":    {&fs.PathError{Op: "write", Path: "/some/cache-tmp/x", Err: unix.ENOSPC}, ""},
		"no path":          {unix.ENOSPC, ""},
		"another error":    {&fs.PathError{Op: "open", Path: "/some/cache/x", Err: unix.EIO}, ""},
		"no error of ours": {errors.New("permission denied"), ""},
	} {
		if got := c.Hint(tc.err).Field; (got == "") != (tc.want == "") || !strings.Contains(got, tc.want) {
			t.Errorf("%s: got %q, want %q", name, got, tc.want)
		}
	}
}

// TestErrorsOfTheDiskHaveAHint shows that what really fails in a cache names a path of it.
func TestErrorsOfTheDiskHaveAHint(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to mount a small file system")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k,mode=755"); err != nil {
		t.Skipf("no tmpfs: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	c := Open(dir)
	p, err := c.OpenPool(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	err = put(p, content(1, 300<<10))
	if got := c.Hint(err).Field; !strings.Contains(got, "disk of the cache is full") {
		t.Errorf("%v: got %q", err, got)
	}
}

// TestUnreadableCache shows that a user is asked to make a cache writable only if it can be read.
func TestUnreadableCache(t *testing.T) {
	if !userns.Inside(t, userns.Ordinary()) {
		return
	}
	const readable, writable = "this user must be able to read the cache", "the cache must be writable"
	for name, tc := range map[string]struct {
		above, mode fs.FileMode
		want        string
	}{
		"closed":         {0o755, 0, readable},
		"below a closed": {0, 0o755, readable},
		"no listing":     {0o755, 0o311, readable},
		"read-only":      {0o755, 0o555, writable},
	} {
		above := t.TempDir()
		c := Open(filepath.Join(above, "cache"))
		if err := errors.Join(os.Mkdir(c.path, 0o755), os.Chmod(c.path, tc.mode), os.Chmod(above, tc.above)); err != nil {
			t.Fatal(err)
		}
		err := &fs.PathError{Op: "open", Path: filepath.Join(c.path, "x"), Err: unix.EACCES}
		if got := c.Hint(err).Field; !strings.HasPrefix(got, tc.want) {
			t.Errorf("%s: got %q, want %q", name, got, tc.want)
		}
		_ = os.Chmod(above, 0o700)
		_ = os.Chmod(c.path, 0o700)
	}
}
