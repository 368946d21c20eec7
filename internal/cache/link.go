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

// linkOrCopy adds a file to another directory: by a hard link or, where links are impossible (another file system,
// too many links, no support), by a reflink or a copy. A file whose mode differs from that of newly published files
// is copied too.
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

// copyFile makes a reflink or a copy, and syncs it. After an error, a partial file may remain.
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

// linkOpen links an open file under another name. It does not depend on the current names of the file.
func linkOpen(f *os.File, to *dir, name string) error {
	err := unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.Fd()), to.fd(), name, unix.AT_SYMLINK_FOLLOW)
	runtime.KeepAlive(f)
	runtime.KeepAlive(to.f)
	if err != nil {
		return &os.LinkError{Op: "link", Old: f.Name(), New: to.join(name), Err: err}
	}
	return nil
}

// hasBlob reports whether name is a file with that digest.
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

// exchange swaps two names atomically. Where the file system does not support that, old is missing between two
// renames.
func exchange(in *dir, fresh string, parent *dir, old string) error {
	err := in.renameFlags(fresh, parent, old, unix.RENAME_EXCHANGE)
	if !isUnsupported(err) {
		return err
	}
	away := old + "-" + oldSuffix // in the same directory, from which the next publication removes it
	if err := parent.rename(old, parent, away); err != nil {
		return err
	}
	if err := in.rename(fresh, parent, old); err != nil {
		return errors.Join(err, parent.rename(away, parent, old))
	}
	return parent.removeAll(away)
}

// isUnsupported reports whether the file system or the kernel does not support renameat2 or the flag.
func isUnsupported(err error) bool { return errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) }
