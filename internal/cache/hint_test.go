package cache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
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
		"of another user":  {&foreignError{"/some/cache/.pool", "is a symbolic link"}, ForeignHint.Field},
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
