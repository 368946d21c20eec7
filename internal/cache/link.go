package cache

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// linkOrCopy gives the file its name in another directory too: a hard link, or, where links are impossible
// (another file system, too many links, a file system without), a reflink or a copy. A file
// that has another mode than what is published now is copied too.
func linkOrCopy(from *dir, name string, to *dir) error {
	st, err := from.stat(name)
	if err != nil {
		return err
	}
	if err := checkFile(&st, from.join(name)); err != nil {
		return err
	}
	if fs.FileMode(st.Mode&0o7777) != published(fileMode) {
		return copyFile(from, name, to)
	}
	err = from.link(name, to, name)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EXDEV), errors.Is(err, unix.EMLINK), errors.Is(err, unix.EPERM), errors.Is(err, unix.ENOTSUP):
		return copyFile(from, name, to)
	}
	return err
}

// copyFile makes a reflink or a copy, and syncs it. If it fails, a part may be there.
func copyFile(from *dir, name string, to *dir) (err error) {
	src, err := from.openFile(name)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := to.create(name)
	if err != nil {
		return err
	}
	defer func() {
		if e := dst.Close(); err == nil {
			err = e
		}
	}()
	if err := unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())); err != nil {
		if _, err := io.Copy(dst, src); err != nil { // copy_file_range where the kernel can
			return fmt.Errorf("copy %s: %w", src.Name(), err)
		}
	}
	return dst.Sync()
}

// linkOpen gives the open file, this very one whatever its names are by now, another name.
func linkOpen(f *os.File, to *dir, name string) error {
	err := unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), to.fd(), name, unix.AT_SYMLINK_FOLLOW)
	runtime.KeepAlive(f)
	runtime.KeepAlive(to.f)
	if err != nil {
		return &os.LinkError{Op: "link", Old: f.Name(), New: to.join(name), Err: err}
	}
	return nil
}

// hasBlob reports whether the name is that of a file with that digest.
func (d *dir) hasBlob(name string, blob digest.Digest) bool {
	f, err := d.openFile(name)
	if err != nil {
		return false
	}
	defer f.Close()
	return hasDigest(f, blob)
}

func hasDigest(f *os.File, d digest.Digest) bool {
	v := d.Verifier()
	_, err := io.Copy(v, f)
	return err == nil && v.Verified()
}

// exchange swaps two names in one step. Where the file system cannot, the old
// one is away for the time of two renames.
func exchange(in *dir, fresh string, parent *dir, old string) error {
	err := in.renameFlags(fresh, parent, old, unix.RENAME_EXCHANGE)
	if !noFlag(err) {
		return err
	}
	away := old + "-" + oldSuffix // in the same directory, where the next publication prunes it
	if err := parent.rename(old, parent, away); err != nil {
		return err
	}
	if err := in.rename(fresh, parent, old); err != nil {
		return errors.Join(err, parent.rename(away, parent, old))
	}
	return parent.removeAll(away)
}

// noFlag reports whether the file system, or the kernel, does not know renameat2 or the flag.
func noFlag(err error) bool { return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) }
