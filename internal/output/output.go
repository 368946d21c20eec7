// Package output makes a file that is there completely or not at all.
//
// It promises that a file has no name before it is complete, so that nothing is left of one when
// the process dies, and that it takes the place of what has its name in one step. Where the
// file system has no files without a name, it has a temporary one, which begins with a dot. Only
// Replace promises that the file is on disk: other callers that need it sync the file before
// Commit, and its name after.
package output

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// File is a file that has no name yet.
type File struct {
	*os.File
	dir  int
	base string
	temp string // empty: no name yet
}

// Create opens the directory of name, in root, and a new file in it. Links on the way lead to where
// they would if root were the root of the file system; one at the file's own place is replaced.
func Create(root, name string) (*File, error) {
	parent, base := path.Split(name)
	switch {
	case name == "", strings.ContainsRune(name, 0), base == "", base == ".", base == "..":
		return nil, errors.New("this is no name of a file")
	case slices.Contains(strings.Split(parent, "/"), ".."):
		return nil, errors.New("a path with .. may lead out of the tree")
	}
	top, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open tree %q: %w", root, err)
	}
	defer func() { _ = unix.Close(top) }()
	how := unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	}
	dir, err := unix.Openat2(top, "./"+parent, &how)
	if err != nil {
		return nil, fmt.Errorf("open directory %q: %w", parent, err)
	}
	return create(dir, base, true)
}

// CreateIn opens a new file in the directory, which stays open. What has the name is replaced,
// but for a directory.
func CreateIn(in *os.File, base string) (*File, error) { return createIn(in, base, true) }

func createIn(in *os.File, base string, exact bool) (*File, error) {
	dir, err := unix.Openat(int(in.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err == unix.EACCES { // this user may write to it, and not read it
		dir, err = unix.FcntlInt(in.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	}
	if err != nil {
		return nil, err
	}
	return create(dir, base, exact)
}

func create(dir int, base string, exact bool) (*File, error) {
	f := &File{dir: dir, base: base}
	if err := f.open(exact); err != nil {
		f.Discard()
		return nil, err
	}
	return f, nil
}

// open creates the file, unless a directory is in its place. The mode is 0644, exactly or less the umask.
func (f *File) open(exact bool) error {
	var st unix.Stat_t
	if err := unix.Fstatat(f.dir, f.base, &st, unix.AT_SYMLINK_NOFOLLOW); err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return unix.EISDIR
	}
	fd, err := unix.Openat(f.dir, ".", unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o644)
	if err == unix.EOPNOTSUPP || err == unix.EISDIR || err == unix.ENOENT {
		f.temp = tempName()
		fd, err = unix.Openat(f.dir, f.temp, unix.O_CREAT|unix.O_EXCL|unix.O_RDWR|unix.O_CLOEXEC, 0o644)
	}
	if err != nil {
		f.temp = ""
		return err
	}
	f.File = os.NewFile(uintptr(fd), f.base)
	if exact {
		return unix.Fchmod(fd, 0o644)
	}
	return nil
}

// Commit closes the file and gives it its name, in the place of what had it before.
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
	if err := f.Close(); err != nil {
		return err
	}
	if err := unix.Renameat(f.dir, f.temp, f.dir, f.base); err != nil {
		return err
	}
	f.temp = ""
	return nil
}

// link names the file, by its handle where the process may do that, else by /proc.
func (f *File) link(name string) error {
	fd := int(f.Fd())
	if err := unix.Linkat(fd, "", f.dir, name, unix.AT_EMPTY_PATH); err != unix.ENOENT {
		return err
	}
	return unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), f.dir, name, unix.AT_SYMLINK_FOLLOW)
}

// SyncName makes the name that Commit gave durable.
func (f *File) SyncName() error {
	// EINVAL: a file system without; EBADF: a directory that cannot be read.
	if err := unix.Fsync(f.dir); err != nil && err != unix.EINVAL && err != unix.EBADF {
		return fmt.Errorf("sync directory of %s: %w", f.base, err)
	}
	return nil
}

// Discard closes the file and its directory, and removes it unless Commit went well. It must be
// called in any case.
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
