package cache

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func TestLockHost(t *testing.T) {
	store := t.TempDir()
	c := Open(filepath.Join(store, "sources"))
	unlock, err := c.LockHost() // there is neither cache nor osbuild
	must(t, err)
	unlock()
	must(t, os.Mkdir(filepath.Join(store, "sources"), 0o755))
	unlock, err = c.LockHost()
	must(t, err)
	unlock()
	path := filepath.Join(store, hostLock)
	writeTest(t, path, nil)
	read := func() *os.File { // as osbuild does
		f, err := os.Open(path)
		must(t, err)
		t.Cleanup(func() { f.Close() })
		return f
	}
	osbuild := read()
	lock := func(f *os.File) error {
		return unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_RDLCK})
	}
	must(t, lock(osbuild))
	if _, err := c.LockHost(); !errors.Is(err, ErrInUse) {
		t.Errorf("osbuild runs: %v", err)
	}
	osbuild.Close()
	unlock, err = c.LockHost()
	must(t, err)
	if lock(read()) == nil {
		t.Error("osbuild got its lock although we have it")
	}
	unlock()
	must(t, lock(read()))
}

// The same image of another cache is another directory, and a mount point may have any name.
func TestMounts(t *testing.T) {
	info := "36 35 98:0 / /mnt rw - ext4 /dev/x rw\n" +
		"37 35 98:0 /c/sha256:1/image /a\\040b\\134c rw - ext4 /dev/x rw\n38 35 98:0 /c/sha256:2/image /d rw - ext4 /dev/x rw\n"
	if got := mountsOf(info, "/sha256:1/image"); !slices.Equal(got, []string{`/a b\c`}) {
		t.Errorf("got %q", got)
	}
	needRoot(t)
	c, p := newCache(t)
	other, q := newCache(t)
	img := draw(1, 0)
	img.mustPublish(t, c, p)
	img.mustPublish(t, other, q)
	at := filepath.Join(t.TempDir(), "with space")
	must(t, os.Mkdir(at, 0o755))
	if err := unix.Mount(other.ImagePath(img.id), at, "", unix.MS_BIND, ""); err != nil {
		t.Skip(err)
	}
	defer func() { must(t, unix.Unmount(at, 0)) }()
	if isMounted(imageOf(t, c, img)) || !isMounted(imageOf(t, other, img)) {
		t.Error("the one image that is mounted is taken for the other")
	}
}
