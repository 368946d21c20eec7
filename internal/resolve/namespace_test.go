package resolve_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"osbuild-containers/internal/resolve"
	"osbuild-containers/test/userns"
)

// TestUnmappedUsersAreNotOne has links of several users in world-writable directories. In a user namespace, all unmapped users have
// the same ID, so the owner of a link may differ from that of the directory although the IDs are equal.
func TestUnmappedUsersAreNotOne(t *testing.T) {
	const shared = "TEST_SHARED"
	if os.Getenv(shared) == "" {
		needRoot(t)
		top := t.TempDir()
		must(t, os.WriteFile(filepath.Join(top, "file"), nil, 0o600))
		for dir, owner := range map[string]int{"ours": 0, "theirs": 1234} {
			dir = filepath.Join(top, dir)
			must(t, os.Mkdir(dir, 0o755), os.Chmod(dir, 0o777|os.ModeSticky), os.Lchown(dir, owner, owner))
			for _, user := range []int{0, 1234, 5678} {
				link := filepath.Join(dir, fmt.Sprint(user))
				must(t, os.Symlink("../file", link), os.Lchown(link, user, user))
			}
		}
		t.Setenv(shared, top)
	}
	top := os.Getenv(shared)
	if !userns.Inside(t, userns.OneID()) {
		return
	}
	for name, ok := range map[string]bool{
		"ours/0": true, "theirs/0": true,
		"ours/1234": false, "ours/5678": false, "theirs/1234": false, "theirs/5678": false,
	} {
		p, err := resolve.Target(filepath.Join(top, name))
		if err == nil {
			p.Close()
		}
		if (err == nil) != ok || err != nil && !errors.Is(err, resolve.ErrForeign) {
			t.Errorf("%s: got %v, want it: %t", name, err, ok)
		}
	}
}

// TestRootOfAnotherNamespace opens a file via the root of a thread with another file system mounted on its directory.
func TestRootOfAnotherNamespace(t *testing.T) {
	dir := t.TempDir()
	ready, done := make(chan error), make(chan struct{})
	defer close(done)
	var thread int
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		thread = unix.Gettid()
		err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		if err == nil {
			err = unix.Mount("tmpfs", dir, "tmpfs", 0, "")
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "inner"), nil, 0o600)
		}
		ready <- err
		<-done
	}()
	if err := <-ready; err != nil {
		t.Skipf("no mount namespace can be made: %v", err)
	}
	root := fmt.Sprintf("/proc/self/task/%d/root", thread)
	p, err := resolve.Target(root + dir + "/inner")
	must(t, err)
	defer p.Close()
	f, err := p.Open(unix.O_RDONLY)
	must(t, err)
	f.Close()
	if _, err := os.Stat(filepath.Join(dir, "inner")); err == nil {
		t.Error("the file is in the namespace of the test, too")
	}
	must(t, os.WriteFile(filepath.Join(dir, "outer"), nil, 0o600))
	if p, err := resolve.Target(root + dir + "/outer"); err != nil || p.Stat != nil {
		t.Errorf("found a file of the other namespace: %v, %v", p, err)
	}
	if _, err := resolve.Target(root + "/../fd/0/x"); !errors.Is(err, unix.ENOTDIR) && !errors.Is(err, unix.ENOENT) {
		t.Errorf("below a file: %v", err)
	}
}
