// Package atomicfile writes files that exist completely or not at all.
//
// A file has no name before it is complete, so nothing is left if the process dies, and it atomically replaces the file of its
// name. On file systems without unnamed files it has a temporary name that starts with a dot. Only Replace makes the file
// durable: other callers that need it must sync the file before Commit, and its name afterwards.
package atomicfile

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"osbuild-containers/internal/resolve"
)

// A File is a file without a name.
type File struct {
	*os.File
	dir  int
	base string
	temp string // temporary name, or ""
}

// Create creates a file in the tree root that Commit calls name. Symbolic links in the path are resolved as if root were the root
// of the file system; a link with the file's own name is replaced. The mode is 0644.
func Create(root, name string) (*File, error) {
	parent, base := path.Split(name)
	switch {
	case name == "", strings.ContainsRune(name, 0), base == "", base == ".", base == "..":
		return nil, errors.New("not a file name") // the caller adds the name
	}
	dir, err := resolve.OpenInTree(root, parent)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return CreateIn(dir.File, base)
}

// CreateIn creates a file that Commit calls base, in an open directory. Commit replaces an existing file, but not a directory. The
// mode is 0644.
func CreateIn(in *os.File, base string) (*File, error) {
	f, err := createIn(in, base, 0o600)
	if err != nil {
		return nil, err
	}
	if err := f.Chmod(0o644); err != nil { // independent of the umask
		f.Discard()
		return nil, err
	}
	return f, nil
}

// createIn creates the file with a mode subject to the umask.
func createIn(in *os.File, base string, mode uint32) (*File, error) {
	dir, err := unix.Openat(int(in.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == unix.EACCES { // the user may write but not read
		dir, err = unix.FcntlInt(in.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	}
	if err != nil {
		return nil, err
	}
	f := &File{dir: dir, base: base}
	if err := f.open(mode); err != nil {
		f.Discard()
		return nil, err
	}
	return f, nil
}

// open creates the file. It fails if a directory has its name.
func (f *File) open(mode uint32) error {
	var st unix.Stat_t
	if err := unix.Fstatat(f.dir, f.base, &st, unix.AT_SYMLINK_NOFOLLOW); err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return unix.EISDIR
	}
	fd, err := unix.Openat(f.dir, ".", unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, mode)
	if err == unix.EOPNOTSUPP || err == unix.EISDIR || err == unix.ENOENT {
		f.temp = tempName()
		fd, err = unix.Openat(f.dir, f.temp, unix.O_CREAT|unix.O_EXCL|unix.O_RDWR|unix.O_CLOEXEC, mode)
	}
	if err != nil {
		f.temp = ""
		return err
	}
	f.File = os.NewFile(uintptr(fd), f.base)
	return nil
}

// Commit closes the file and gives it its name, replacing an existing file.
func (f *File) Commit() error {
	if f.temp == "" {
		err := f.link(f.base)
		if err == nil {
			return f.Close()
		}
		if err != unix.EEXIST {
			return err
		}
		temp := tempName()
		if err := f.link(temp); err != nil {
			return err
		}
		f.temp = temp
	}
	// Keep the file locked until it has its name: otherwise another Resume could write to it while it is published.
	held, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(held)
	if err := f.Close(); err != nil {
		return err
	}
	if err := unix.Renameat(f.dir, f.temp, f.dir, f.base); err != nil {
		return err
	}
	f.temp = ""
	return nil
}

// link names the file, by its descriptor if permitted, otherwise via /proc.
func (f *File) link(name string) error {
	fd := int(f.Fd())
	if err := unix.Linkat(fd, "", f.dir, name, unix.AT_EMPTY_PATH); err != unix.ENOENT {
		return err
	}
	return unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), f.dir, name, unix.AT_SYMLINK_FOLLOW)
}

// SyncName makes the name given by Commit durable.
func (f *File) SyncName() error {
	// EINVAL: not supported by the file system; EBADF: the directory is not readable.
	if err := unix.Fsync(f.dir); err != nil && err != unix.EINVAL && err != unix.EBADF {
		return fmt.Errorf("sync directory of %s: %w", f.base, err)
	}
	return nil
}

// Discard closes the file and its directory, and removes the file unless Commit has succeeded. It must always be called.
func (f *File) Discard() {
	if f.temp != "" {
		_ = unix.Unlinkat(f.dir, f.temp, 0)
	}
	if f.File != nil {
		f.Close()
	}
	_ = unix.Close(f.dir)
}

func tempName() string { return ".new." + rand.Text() }
