package cache

import (
	"errors"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"osbuild-containers/internal/hint"
)

// Hint returns the remedy for an error about a file or directory of the cache. It returns the zero Hint for other
// errors: a full disk or a missing permission elsewhere is unrelated to the cache.
func (c *Cache) Hint(err error) hint.Hint {
	if errors.Is(err, ErrForeign) {
		return ForeignHint
	}
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path) && c.holds(path.Path):
	case errors.As(err, &link) && (c.holds(link.Old) || c.holds(link.New)):
	default:
		return hint.Hint{}
	}
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		return hint.New("the disk of the cache is full: make room and run again; what was downloaded is kept and used then")
	case errors.Is(err, unix.EROFS), errors.Is(err, unix.EACCES):
		return hint.New("the cache must be writable: check its mount and its permissions")
	}
	return hint.Hint{}
}

// holds reports whether path is that of the cache or below it.
func (c *Cache) holds(path string) bool {
	rest, found := strings.CutPrefix(path, strings.TrimSuffix(c.path, "/"))
	return found && (rest == "" || rest[0] == '/')
}
