package cache

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// hostLock is the lock of osbuild's store, whose folder sources is the cache. Each osbuild that runs
// holds it for reading, as an open file description lock; for writing it keeps all of them out.
const hostLock = "cache.lock"

// LockHost keeps osbuild out of the store that the cache belongs to until unlock is called, or the process
// ends: an osbuild that is started meanwhile waits. The error is ErrInUse, wrapped, if one runs already. A
// cache that belongs to no store, or to one of an osbuild that knows no lock, needs none.
func (c *Cache) LockHost() (unlock func(), err error) {
	dir, err := filepath.EvalSymlinks(filepath.Dir(c.files))
	if err != nil {
		return func() {}, nil //nolint:nilerr // there is no cache
	}
	f, err := os.OpenFile(filepath.Join(filepath.Dir(dir), hostLock), os.O_RDWR|unix.O_NOFOLLOW, 0)
	if isAbsent(err) {
		return func() {}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("lock osbuild's store: %w", err)
	}
	err = unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
	if err == nil {
		return func() { f.Close() }, nil
	}
	f.Close()
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return nil, fmt.Errorf("%w: osbuild is building with this store", ErrInUse)
	}
	return nil, fmt.Errorf("lock osbuild's store: %w", err)
}

// isMounted says whether a folder is mounted elsewhere, in any mount namespace that this process may look
// into: osbuild binds an image to where a stage reads it. It is looked for by the end of its path, since
// what lies above that differs between namespaces and file systems; so the answer may be yes for
// the same image in another cache.
func isMounted(path string) bool {
	image := filepath.Base(path)
	parent := filepath.Base(filepath.Dir(path))
	end := "/" + filepath.Join(filepath.Base(filepath.Dir(filepath.Dir(path))), parent, image)
	processes, err := os.ReadDir("/proc")
	if err != nil {
		return false
	}
	seen := map[string]bool{}
	for _, p := range processes {
		if p.Name()[0] < '0' || p.Name()[0] > '9' {
			continue
		}
		space, err := os.Readlink("/proc/" + p.Name() + "/ns/mnt")
		if err != nil || seen[space] {
			continue
		}
		seen[space] = true
		raw, err := os.ReadFile("/proc/" + p.Name() + "/mountinfo")
		if err == nil && hasMount(string(raw), end) {
			return true
		}
	}
	return false
}

// hasMount looks through a mountinfo file: the fourth field of a line is what of a file system is mounted.
func hasMount(info, end string) bool {
	for line := range strings.Lines(info) {
		if fields := strings.Fields(line); len(fields) > 3 && strings.HasSuffix(fields[3], end) {
			return true
		}
	}
	return false
}
