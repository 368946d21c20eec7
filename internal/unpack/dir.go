package unpack

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"osbuild-containers/internal/deploy"
	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/resolve"
)

// CheckDir returns an error if no directory can be created at path: something other than an empty directory exists, or it
// is a mount point or the current directory.
func CheckDir(path string) error {
	entries, err := os.ReadDir(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if fi, err := os.Stat(filepath.Dir(path)); errors.Is(err, fs.ErrNotExist) {
			return hint.Add(err, "make the directory %s first", filepath.Dir(path))
		} else if err != nil {
			return err
		} else if !fi.IsDir() {
			return fmt.Errorf("%s is not a directory", filepath.Dir(path))
		}
		if _, err := os.Lstat(path); err == nil {
			return fmt.Errorf("%s is a symbolic link to nothing", path)
		}
		return checkParent(path, filepath.Dir(path))
	case errors.Is(err, unix.ENOTDIR):
		return fmt.Errorf("%s exists and is not a directory", path)
	case err != nil:
		return err
	case len(entries) > 0:
		return fmt.Errorf("%s is not empty: name a new or an empty directory", path)
	}
	var st, above, here unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return fmt.Errorf("stat %s: %w", path, err)
	}
	if unix.Stat(".", &here) == nil && here.Dev == st.Dev && here.Ino == st.Ino {
		return fmt.Errorf("%s is the current directory, which cannot be replaced when all is complete: name a directory in it", path)
	}
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	parent := filepath.Dir(target)
	if err := unix.Stat(parent, &above); err != nil {
		return fmt.Errorf("stat %s: %w", parent, err)
	}
	if st.Dev != above.Dev || st.Ino == above.Ino {
		return fmt.Errorf("%s is a mount point, which cannot be replaced when all is complete: name a directory in it", path)
	}
	return checkParent(path, parent)
}

// checkParent returns an error if path cannot be created or replaced in its directory.
func checkParent(path, parent string) error {
	if err := resolve.CheckDir(parent); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// A Dir is a directory that gets its name when it is complete.
type Dir struct {
	Path string // temporary path
	name string
	lock *os.File
}

// NewDir creates a directory next to path. The caller must Commit or Discard it.
func NewDir(path string) (*Dir, error) {
	if err := CheckDir(path); err != nil {
		return nil, err
	}
	if to, err := filepath.EvalSymlinks(path); err == nil {
		path = to
	}
	removeStale(path)
	d := &Dir{Path: prefixOf(path) + rand.Text(), name: path}
	if err := os.Mkdir(d.Path, 0o700); err != nil {
		return nil, err
	}
	var err error
	if d.lock, err = lock(d.Path); err != nil {
		_ = os.Remove(d.Path)
		return nil, fmt.Errorf("lock %s: %w", d.Path, err)
	}
	return d, nil
}

// prefixOf returns the prefix of the names of temporary directories for path.
func prefixOf(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".unpack-")
}

// lock locks a directory that no other process has locked.
func lock(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_DIRECTORY|unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), path)
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// removeStale removes directories left next to path by killed processes.
func removeStale(path string) {
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return
	}
	prefix := filepath.Base(prefixOf(path))
	for _, e := range entries {
		if rest, ok := strings.CutPrefix(e.Name(), prefix); !ok || len(rest) != len(rand.Text()) {
			continue
		}
		at := filepath.Join(filepath.Dir(path), e.Name())
		if f, err := lock(at); err == nil {
			if isOwn(f) {
				_ = removeAll(at)
			}
			_ = f.Close()
		}
	}
}

// isOwn reports whether this user owns the directory. In a directory like /tmp, another user may have created it to make
// root change the target of a link in it.
func isOwn(dir *os.File) bool {
	var st unix.Stat_t
	return unix.Fstat(int(dir.Fd()), &st) == nil && int(st.Uid) == os.Geteuid()
}

// Commit renames the directory to its final name.
func (d *Dir) Commit() error {
	if err := unix.Rename(d.Path, d.name); err != nil {
		return fmt.Errorf("rename %s to %s: %w", d.Path, d.name, err)
	}
	return d.lock.Close()
}

// Discard removes the directory unless it was committed.
func (d *Dir) Discard() error {
	_ = d.lock.Close()
	return removeAll(d.Path)
}

// removeAll removes a tree, including directories that an ordinary user has no permission to change.
func removeAll(path string) error {
	err := os.RemoveAll(path)
	if err == nil {
		return nil
	}
	_ = filepath.WalkDir(path, func(at string, e fs.DirEntry, err error) error {
		if e != nil && e.IsDir() {
			_ = os.Chmod(at, 0o700) //nolint:gosec // a directory
			if err != nil {
				return nil //nolint:nilerr // removal is attempted below
			}
		}
		return nil
	})
	return os.RemoveAll(path)
}

// Dir unpacks the image into a directory.
func (i *Image) Dir(ctx context.Context, d *Dir, opt deploy.Options, log *progress.Reporter) error {
	return i.named(deploy.Deploy(ctx, d.Path, i.Layers, opt, log))
}
