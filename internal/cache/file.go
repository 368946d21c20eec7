package cache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// File reads the manifest list published under d, if what is there has that digest.
func (c *Cache) File(d digest.Digest) ([]byte, bool) {
	raw, err := readAt(unix.AT_FDCWD, c.FilePath(d))
	return raw, err == nil && digest.FromBytes(raw) == d
}

// PublishFile makes the manifest list visible under its digest d, which the caller has verified.
// A file of that name with another content is replaced.
func (c *Cache) PublishFile(ctx context.Context, d digest.Digest, raw []byte) error {
	if err := makeDir(c.files); err != nil {
		return fmt.Errorf("publish manifest list: %w", err)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := publishFile(c.FilePath(d), raw); err != nil {
		return fmt.Errorf("publish manifest list: %w", err)
	}
	return syncDir(c.files)
}

// publishFile writes to a file without a name, which a crash leaves nothing of, and names it.
func publishFile(dest string, raw []byte) error {
	fd, err := unix.Open(filepath.Dir(dest), unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, fileMode)
	if err != nil { // a file system without such files
		return replaceFile(dest, raw)
	}
	f := os.NewFile(uintptr(fd), dest)
	defer f.Close()
	if err := f.Chmod(fileMode); err != nil {
		return err
	}
	if _, err := f.Write(raw); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	err = unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, dest, unix.AT_SYMLINK_FOLLOW)
	if errors.Is(err, unix.EEXIST) || errors.Is(err, unix.ENOENT) { // a wrong file is there; or no /proc
		return replaceFile(dest, raw)
	}
	return err
}

func replaceFile(dest string, raw []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(dest), ".new-")
	if err != nil {
		return err
	}
	name := tmp.Name()
	tmp.Close()
	defer os.Remove(name)
	if err := os.Remove(name); err != nil {
		return err
	}
	if err := writeFile(name, raw); err != nil {
		return err
	}
	return os.Rename(name, dest)
}
