package cache

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"osbuild-containers/internal/resolve"
)

// openTop opens the cache (""), or one of the two directories in it, once. The path to the cache may contain symbolic
// links, except those that package resolve refuses. The cache may be writable by all if it has the sticky bit, which
// keeps other users from replacing our files.
func (c *Cache) openTop(name string) (*dir, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.top(name)
}

func (c *Cache) top(name string) (*dir, error) {
	if d := c.tops[name]; d != nil {
		return d, nil
	}
	var d *dir
	if name == "" {
		f, err := resolve.Dir(c.path)
		if err != nil {
			return nil, err
		}
		d = &dir{f: f, path: c.path}
		var st unix.Stat_t
		if err := unix.Fstat(d.fd(), &st); err != nil {
			return nil, d.failed("stat", "", err)
		}
		if st.Mode&unix.S_ISVTX != 0 {
			st.Mode &^= unix.S_IWOTH | unix.S_IWGRP
		}
		if why := distrust(&st); why != "" {
			d.close()
			return nil, &foreignError{c.path, why}
		}
	} else {
		in, err := c.top("")
		if err != nil {
			return nil, err
		}
		if d, err = in.open(name); err != nil {
			return nil, err
		}
	}
	c.tops[name] = d
	return d, nil
}

// makeTop is like openTop, but creates the directory and its parents if they are missing, and syncs them.
func (c *Cache) makeTop(name string) (*dir, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := c.top(""); isAbsent(err) {
		if err := makeDir(c.path); err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	in, err := c.top("")
	if err != nil {
		return nil, err
	}
	d, made, err := in.mkdir(name, dirMode)
	if err != nil {
		return nil, err
	}
	if made || d.changedRecently() {
		if err := in.sync(); err != nil {
			d.close()
			return nil, err
		}
	}
	if old := c.tops[name]; old != nil && old.is(d.f, ".") {
		d.close()
		return old, nil
	}
	c.tops[name] = d
	return d, nil
}

// Create creates the directory of the cache if it is missing.
func (c *Cache) Create() error {
	if _, err := os.Stat(c.path); !isAbsent(err) {
		return err
	}
	return makeDir(c.path)
}

// makeDir creates a directory and its missing parents, and syncs them. It also syncs directories that another process
// created recently, since that process may be killed before it does.
func makeDir(path string) error {
	parent := filepath.Dir(path)
	err := os.Mkdir(path, dirMode)
	if isAbsent(err) && parent != path {
		if err := makeDir(parent); err != nil {
			return err
		}
		err = os.Mkdir(path, dirMode)
	}
	switch {
	case err == nil:
		return syncDir(parent)
	case !errors.Is(err, fs.ErrExist):
		return err
	}
	fi, err := os.Stat(path)
	if err == nil && !fi.IsDir() {
		err = &fs.PathError{Op: "mkdir", Path: path, Err: unix.ENOTDIR}
	}
	if err != nil || parent == path || !isNew(path) {
		return err
	}
	if err := makeDir(parent); err != nil {
		return err
	}
	if err := syncDir(parent); !errors.Is(err, fs.ErrPermission) { // another user's directory, created by that user
		return err
	}
	return nil
}

// isNew reports whether a directory was created recently. It returns true if the file system does not record
// creation.
func isNew(path string) bool {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_BTIME, &st)
	return err != nil || st.Mask&unix.STATX_BTIME == 0 || isRecent(st.Btime.Sec)
}

// recentAge is the age below which a name may not be on disk yet: twice the longest interval after which a file system
// commits by itself, the 30 seconds of btrfs and xfs.
const recentAge = time.Minute

func isRecent(seconds int64) bool {
	age := time.Since(time.Unix(seconds, 0))
	return age < recentAge && age > -recentAge
}

// changedRecently reports whether a name was added to or removed from the directory recently.
func (d *dir) changedRecently() bool {
	var st unix.Stat_t
	return unix.Fstat(d.fd(), &st) != nil || isRecent(int64(st.Ctim.Sec)) //nolint:unconvert // its type depends on the architecture
}

// syncDir syncs the names in a directory above the cache to disk.
func syncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return (&dir{f: f, path: path}).sync()
}
