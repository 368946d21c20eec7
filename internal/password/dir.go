package password

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"osbuild-containers/internal/resolve"
)

// ErrNoFile is returned for a tree without /etc/shadow.
var ErrNoFile = errors.New("there is no /etc/shadow: a password of root would not be asked for")

// maxShadow limits the size of a shadow file, in bytes.
const maxShadow = 16 << 20

// SetInDir sets root's password in the tree at path. Symbolic links are resolved within the tree. The shadow file keeps
// its owner, mode, time and attributes. It is rewritten in place, so the tree must not be in use.
func SetInDir(tree, hash string) (notes []string, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("set the password of root: %w", err)
		}
	}()
	dir, base, err := resolve.FileInTree(tree, File)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoFile
	}
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	fd, err := unix.Openat(int(dir.File.Fd()), base, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT {
		return nil, ErrNoFile
	}
	if err != nil {
		return nil, fmt.Errorf("open /%s: %w", File, err)
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("open /%s: %w", File, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("/%s is not a regular file", File)
	}
	return rewrite("/proc/self/fd/"+strconv.Itoa(fd), st.Mode&0o7777, hash, time.Unix(st.Mtim.Unix()))
}

// rewrite rewrites a shadow file, which may be readable by root only.
func rewrite(path string, mode uint32, hash string, mtime time.Time) (notes []string, err error) {
	if mode&0o600 != 0o600 {
		if err := unix.Chmod(path, mode|0o600); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, unix.Chmod(path, mode)) }()
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	old, err := Read(f)
	if err != nil {
		return nil, err
	}
	changed, notes := Set(old, hash)
	if _, err := f.WriteAt(changed, 0); err != nil {
		return nil, err
	}
	if err := f.Truncate(int64(len(changed))); err != nil {
		return nil, err
	}
	return notes, os.Chtimes(path, mtime, mtime)
}

// Read reads a shadow file.
func Read(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxShadow+1))
	if err == nil && len(b) > maxShadow {
		err = fmt.Errorf("/%s has more than %d bytes", File, maxShadow)
	}
	return b, err
}
