package cache

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// linkOrCopy gives the file a second name: a hard link, or, where links are impossible
// (another file system, too many links, a file system without), a reflink or a copy.
func linkOrCopy(from, to string) error {
	err := os.Link(from, to)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EXDEV), errors.Is(err, unix.EMLINK), errors.Is(err, unix.EPERM), errors.Is(err, unix.ENOTSUP):
		return copyFile(from, to, true)
	}
	return err
}

// share is linkOrCopy without the copy.
func share(from, to string) error {
	if err := os.Link(from, to); err == nil {
		return nil
	}
	return copyFile(from, to, false)
}

// copyFile makes a reflink or, if allowed, a copy, and syncs it.
func copyFile(from, to string, bytesToo bool) (err error) {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	defer func() {
		if e := dst.Close(); err == nil {
			err = e
		}
		if err != nil {
			os.Remove(to)
		}
	}()
	if err := dst.Chmod(fileMode); err != nil {
		return err
	}
	if err := unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())); err != nil {
		if !bytesToo {
			return err
		}
		if _, err := io.Copy(dst, src); err != nil { // copy_file_range where the kernel can
			return fmt.Errorf("copy %s: %w", from, err)
		}
	}
	return dst.Sync()
}

// exchange swaps the names of two folders in one step. Where the file system cannot, the old
// one is away for the time of two renames.
func exchange(fresh, old string) error {
	err := unix.Renameat2(unix.AT_FDCWD, fresh, unix.AT_FDCWD, old, unix.RENAME_EXCHANGE)
	if err == nil || !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) {
		return err
	}
	away := fresh + ".old"
	if err := os.Rename(old, away); err != nil {
		return err
	}
	if err := os.Rename(fresh, old); err != nil {
		return errors.Join(err, os.Rename(away, old))
	}
	return os.RemoveAll(away)
}
