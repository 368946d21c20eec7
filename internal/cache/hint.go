package cache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/resolve"
)

// Hint returns the remedy for an error about a file or directory of the cache. It returns the zero Hint for other
// errors: a full disk or a missing permission elsewhere is unrelated to the cache.
func (c *Cache) Hint(err error) hint.Hint {
	if errors.Is(err, ErrForeign) {
		return foreignHint
	}
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path) && (c.holds(path.Path) || path.Op == "mkdir" && c.below(path.Path)):
	case errors.As(err, &link) && (c.holds(link.Old) || c.holds(link.New)):
	default:
		return hint.Hint{}
	}
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return hint.New("the disk of the cache is full: make room and run again; what was downloaded is kept and used then")
	case errors.Is(err, unix.EACCES) && !c.readable():
		return hint.New("this user must be able to read the cache: check the permissions of it and of the directories above it, or name another cache")
	case errors.Is(err, unix.ENOENT) && path != nil && path.Op == "mkdir": // as in /proc
		return hint.New("no cache can be made there: name another directory")
	case errors.Is(err, unix.EROFS), errors.Is(err, unix.EACCES):
		return hint.New("the cache must be writable: check its mount and its permissions, or name another cache")
	}
	return hint.Hint{}
}

// CheckWritable returns an error with a remedy if blobs cannot be written to the cache, as far as known in advance.
func (c *Cache) CheckWritable() error {
	dir := filepath.Join(c.containers, poolDir)
	for dir != filepath.Dir(dir) {
		if _, err := os.Stat(dir); !isAbsent(err) {
			break
		}
		dir = filepath.Dir(dir)
	}
	if err := resolve.CheckDir(dir); err != nil {
		return fmt.Errorf("write to the cache %s: %w", c.path, err)
	}
	return nil
}

// readable reports whether this user can read the directory of the cache, if there is one.
func (c *Cache) readable() bool {
	err := unix.Faccessat(unix.AT_FDCWD, c.path, unix.R_OK|unix.X_OK, unix.AT_EACCESS)
	return !errors.Is(err, fs.ErrPermission)
}

// below reports whether path is a directory above that of the cache, which was about to be made for it.
func (c *Cache) below(path string) bool {
	return strings.HasPrefix(c.path, strings.TrimSuffix(path, "/")+"/")
}

// holds reports whether path is that of the cache or below it.
func (c *Cache) holds(path string) bool {
	rest, found := strings.CutPrefix(path, strings.TrimSuffix(c.path, "/"))
	return found && (rest == "" || rest[0] == '/')
}
