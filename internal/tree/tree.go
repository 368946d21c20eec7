// Package tree is the only package that writes below a target tree.
//
// Trees are untrusted: layers contain symbolic links that point outside, and an existing tree may contain any. So paths are
// never resolved by the kernel's default rules: a name is opened with openat2 and RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS and
// RESOLVE_NO_MAGICLINKS, from a handle on the root that is opened once; new entries are created relative to the handle of
// their parent; the last component is never followed.
//
// It guarantees that nothing outside the root is written, removed or read, whatever the names and the content of the tree. A
// name that passes through a symbolic link is an error. Owner, mode, times (in nanoseconds, also of symbolic links) and
// extended attributes are those of Meta, without attributes inherited from the directory. Whatever is in the way of a file is
// removed, not written through.
//
// It does not sync. It does not protect against another process renaming the tree's directories: such a process can move a
// directory with what is written there, but cannot redirect writes to a place that was never below the root.
//
// A Root is not safe for concurrent use. It needs Linux 5.6 for openat2.
package tree

import (
	"errors"
	"fmt"
	"hash/maphash"
	"strings"

	"golang.org/x/sys/unix"
)

// Errors that callers distinguish.
var (
	// ErrNotDir: a directory is needed, but the tree has something else.
	ErrNotDir = errors.New("exists in the tree and is not a directory")
	// ErrIsDir: the tree has a directory in the place of a new file.
	ErrIsDir = errors.New("is a directory in the tree")
	// ErrName: the name is not clean, or not below the root.
	ErrName = errors.New("not a clean name below the root")
)

// Root is a handle on a target tree. Names are relative to it, slash-separated and clean: without empty, "." or ".."
// components. The root itself is ".".
type Root struct {
	// Unsupported, if not nil, is called for each extended attribute that the file system of the tree, the type of
	// node or a user namespace does not support, with the reason; if it is nil, that is an error. An empty attr means
	// that a device is left out.
	Unsupported func(name, attr, why string)

	// Full, if not nil, is called when the file system is full. If it returns true, it has freed space, and the
	// operation is repeated.
	Full func() bool

	leftOut map[uint64]struct{} // hashes of the names of left out devices and of links to them
	seed    maphash.Seed

	buffered bool // writing to a file only fills the page cache

	// Steps counts the components of names that were walked.
	Steps int64

	dirs cache
}

// Open opens the tree at path, which is trusted and may contain symbolic links.
func Open(path string) (*Root, error) {
	fd, err := retry(func() (int, error) {
		return unix.Open(path, unix.O_DIRECTORY|unix.O_RDONLY|unix.O_CLOEXEC, 0)
	})
	if err != nil {
		return nil, fmt.Errorf("open tree %q: %w", path, err)
	}
	if err := probe(fd); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("open tree %q: %w", path, err)
	}
	root := &dir{fd: fd, name: "."}
	if err := root.look(); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("open tree %q: %w", path, err)
	}
	r := &Root{buffered: buffered(fd)}
	r.dirs.init(root, &r.Steps)
	return r, nil
}

// buffered reports whether writing to files of a directory's file system only fills the page cache, instead of waiting for a
// disk or a server. It waits for the disk only if too much is not on it yet, as all that writes to it then does.
func buffered(fd int) bool {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil || fs.Flags&unix.ST_SYNCHRONOUS != 0 {
		return false
	}
	switch fs.Type {
	case unix.TMPFS_MAGIC, unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC, unix.BTRFS_SUPER_MAGIC:
		return true
	default:
		return false
	}
}

// Close closes all handles.
func (r *Root) Close() error { return r.dirs.close() }

// Empty reports whether the tree is empty.
func (r *Root) Empty() (bool, error) {
	names, err := r.dirs.root.list(1)
	if err != nil {
		return false, fail("list", ".", err)
	}
	return len(names) == 0, nil
}

// probe distinguishes a kernel without openat2 from other errors.
func probe(fd int) error {
	got, err := openat2(fd, ".", unix.O_PATH)
	switch {
	case err == nil:
		return unix.Close(got)
	case errors.Is(err, unix.ENOSYS):
		return errors.New("the kernel has no openat2, Linux 5.6 or later is needed")
	case errors.Is(err, unix.EPERM):
		return errors.New("openat2 is forbidden here (an old seccomp filter?), and nothing else keeps writes below the tree")
	default:
		return fmt.Errorf("openat2: %w", err)
	}
}

// openat2 opens a name in a directory, without following links or leaving the directory.
func openat2(fd int, name string, flags uint64) (int, error) {
	return openat2Mode(fd, name, flags, 0)
}

// openat2Mode is openat2 with a mode for a new file.
func openat2Mode(fd int, name string, flags uint64, mode uint32) (int, error) {
	how := unix.OpenHow{
		Flags:   flags | unix.O_CLOEXEC | unix.O_NOFOLLOW,
		Mode:    uint64(mode),
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	// EAGAIN: a rename elsewhere raced with RESOLVE_BENEATH.
	for {
		got, err := unix.Openat2(fd, name, &how)
		if err != unix.EINTR && err != unix.EAGAIN {
			return got, err
		}
	}
}

// retry repeats a system call interrupted by a signal.
func retry(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if err != unix.EINTR {
			return n, err
		}
	}
}

// room calls f, and again if the file system was full and Full has freed space.
func (r *Root) room(f func() error) error {
	err := f()
	if (err == unix.ENOSPC || err == unix.EDQUOT) && r.Full != nil && r.Full() {
		err = f()
	}
	return err
}

// split returns the parent and the last component of a clean name.
func split(name string) (parent, base string) {
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		return name[:i], name[i+1:]
	}
	return ".", name
}

// fail adds the operation and the name to an error.
func fail(op, name string, err error) error {
	return fmt.Errorf("%s %q: %w", op, name, err)
}
