package cache

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// linkOrCopy gives the file a second name: a hard link, or, where links are impossible
// (another file system, too many links, a file system without), a reflink or a copy. A file
// whose mode somebody has changed is copied too: what is published is for all to read and for nobody to write.
func linkOrCopy(from, to string) error {
	fi, err := os.Lstat(from)
	if err != nil {
		return err
	}
	if fi.Mode() != fileMode {
		return copyFile(from, to)
	}
	err = os.Link(from, to)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EXDEV), errors.Is(err, unix.EMLINK), errors.Is(err, unix.EPERM), errors.Is(err, unix.ENOTSUP):
		return copyFile(from, to)
	}
	return err
}

// copyFile makes a reflink or a copy, and syncs it. If it fails, a part may be there.
func copyFile(from, to string) (err error) {
	src, err := openFile(from)
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
	}()
	if err := dst.Chmod(fileMode); err != nil {
		return err
	}
	if err := unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())); err != nil {
		if _, err := io.Copy(dst, src); err != nil { // copy_file_range where the kernel can
			return fmt.Errorf("copy %s: %w", from, err)
		}
	}
	return dst.Sync()
}

// linkOpen gives the open file, this very one whatever its names are by now, another name.
func linkOpen(f *os.File, to string) error {
	err := unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), unix.AT_FDCWD, to, unix.AT_SYMLINK_FOLLOW)
	if err != nil {
		return &os.LinkError{Op: "link", Old: f.Name(), New: to, Err: err}
	}
	return nil
}

// openFile opens a regular file itself: no symbolic link, and nothing that it would have to wait for.
func openFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		f.Close()
		return nil, &fs.PathError{Op: "open", Path: path, Err: errors.New("not a regular file")}
	}
	return f, nil
}

// sameContent says whether path is the pooled blob: a link to it, or else a file with its digest.
func sameContent(path, pooled string, d digest.Digest) bool {
	f, err := openFile(path)
	if err != nil {
		return false
	}
	defer f.Close()
	return sameFile(f, pooled) || hasDigest(f, d)
}

// isIntact says whether path is a file with that digest.
func isIntact(path string, d digest.Digest) bool {
	f, err := openFile(path)
	if err != nil {
		return false
	}
	defer f.Close()
	return hasDigest(f, d)
}

func hasDigest(f *os.File, d digest.Digest) bool {
	v := d.Verifier()
	_, err := io.Copy(v, f)
	return err == nil && v.Verified()
}

// exchange swaps two names in one step. Where the file system cannot, the old
// one is away for the time of two renames.
func exchange(fresh, old string) error {
	err := unix.Renameat2(unix.AT_FDCWD, fresh, unix.AT_FDCWD, old, unix.RENAME_EXCHANGE)
	if !noFlag(err) {
		return err
	}
	away := old + "-old" // beside it, where the next to publish sweeps
	if err := os.Rename(old, away); err != nil {
		return err
	}
	if err := os.Rename(fresh, old); err != nil {
		return errors.Join(err, os.Rename(away, old))
	}
	return os.RemoveAll(away)
}

// noFlag says that the file system, or the kernel, does not know renameat2 or the flag.
func noFlag(err error) bool { return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) }
