package cache

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// hostLock is the lock file of osbuild's store, whose directory "sources" is the cache. Each running osbuild holds a
// shared open file description lock on it; an exclusive one keeps them all out.
const hostLock = "cache.lock"

// LockHost locks the store that the cache belongs to, until unlock is called or the process ends: an osbuild that
// starts meanwhile waits. The error wraps ErrInUse if an osbuild is running. If the cache belongs to no store, or to
// one of an osbuild without locking, LockHost does nothing.
func (c *Cache) LockHost() (unlock func(), err error) {
	cache, err := c.openTop("")
	if isAbsent(err) {
		return func() {}, nil
	}
	if err != nil {
		return nil, err
	}
	store, err := cache.openat("..", unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("lock osbuild's store: %w", err)
	}
	defer store.Close()
	f, err := (&dir{f: store, path: filepath.Dir(c.path)}).openat(hostLock, os.O_RDWR, 0)
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

// isMounted reports whether the image in a directory is mounted in any mount namespace that this process can see:
// osbuild bind-mounts an image where a stage reads it.
func isMounted(in *dir) bool {
	path := in.join(imageDir)
	st, err := in.stat(imageDir)
	if err != nil {
		return false
	}
	processes, err := os.ReadDir("/proc")
	if err != nil {
		return false
	}
	// The preceding components depend on the file system.
	end := "/" + filepath.Join(filepath.Base(filepath.Dir(path)), filepath.Base(path))
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
		if err != nil {
			continue
		}
		for _, at := range mountsOf(string(raw), end) {
			var there unix.Stat_t
			err := unix.Stat("/proc/"+p.Name()+"/root"+at, &there)
			if err != nil || there.Dev == st.Dev && there.Ino == st.Ino {
				return true // if it cannot be read, assume that it is mounted
			}
		}
	}
	return false
}

// escapes decodes the characters that mountinfo files escape.
var escapes = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// mountsOf searches a mountinfo file for mounts of directories whose path ends with end, and returns their mount
// points. The fourth field of a line is the mounted directory within its file system, the fifth the mount point.
func mountsOf(info, end string) (points []string) {
	for line := range strings.Lines(info) {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasSuffix(fields[3], end) {
			points = append(points, escapes.Replace(fields[4]))
		}
	}
	return points
}
