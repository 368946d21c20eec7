// Package tree is the only writer below a target tree.
//
// It exists because a tree is a hostile place: layers bring symbolic links that
// point out of it, and a tree that others began holds any. So nothing here ever
// resolves a path. A name is walked one component at a time with openat2, with
// RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS and RESOLVE_NO_MAGICLINKS, from a handle on
// the root that was opened once; new entries are made relative to the handle of
// their parent; the last component is never followed.
//
// What it promises: nothing outside the root is written, removed or read, whatever
// the names are and whatever is in the tree. A name that runs through a symbolic
// link is an error. Owner, mode, times (nanoseconds, of symbolic links too) and
// extended attributes are those of Meta and nothing that was inherited from the
// directory. What stood in the way of a file is removed, not written through.
//
// What it does not: it syncs nothing, and it protects against what is in the tree,
// not against another process that renames the tree's directories while it works (such
// a process can move a directory, with what is written there, but not lead writes to a
// place that was never below the root).
//
// A Root is for one goroutine at a time. It needs Linux 5.6 for openat2.
package tree

import (
	"errors"
	"fmt"
	"hash/maphash"
	"strings"

	"golang.org/x/sys/unix"
)

// The errors that callers tell apart.
var (
	// ErrNotDir: a directory is needed where the tree has something else.
	ErrNotDir = errors.New("the tree has something there that is not a directory")
	// ErrIsDir: the tree has a directory where something else is to be made.
	ErrIsDir = errors.New("the tree has a directory there")
	// ErrName: the name is not clean, or not below the root.
	ErrName = errors.New("not a clean name below the root")
)

// Root is a handle on a target tree. Names are relative to it, separated by slashes
// and clean: no empty, "." or ".." component. The root itself is ".".
type Root struct {
	// Unsupported, where set, is told of each extended attribute that the file system
	// of the tree, the kind of node or a user namespace cannot have, and why; without it
	// that is an error. Where attr is empty, a device is left out.
	Unsupported func(name, attr, why string)

	// Full, where set, is called when the file system is full. Where it reports that it has
	// made room, what failed is tried again.
	Full func() bool

	leftOut map[uint64]struct{} // hashes of the names of devices that were, and of links to them
	seed    maphash.Seed

	// Steps counts the components of the names that had to be walked.
	Steps int64

	dirs cache
}

// Open opens the tree at path, which is trusted: it may run through symbolic links.
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
	r := &Root{}
	r.dirs.init(root, &r.Steps)
	return r, nil
}

// Close closes all handles.
func (r *Root) Close() error { return r.dirs.close() }

// Empty reports whether there is nothing in the tree.
func (r *Root) Empty() (bool, error) {
	names, err := r.dirs.root.list(1)
	if err != nil {
		return false, fail("list", ".", err)
	}
	return len(names) == 0, nil
}

// probe tells a kernel without openat2 from everything else that can go wrong.
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

// openat2 opens one name in a directory, never following a link, never leaving it.
func openat2(fd int, name string, flags uint64) (int, error) {
	return openat2Mode(fd, name, flags, 0)
}

// openat2Mode is openat2 that may make a file, with that mode.
func openat2Mode(fd int, name string, flags uint64, mode uint32) (int, error) {
	how := unix.OpenHow{
		Flags:   flags | unix.O_CLOEXEC | unix.O_NOFOLLOW,
		Mode:    uint64(mode),
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	// EAGAIN: a rename elsewhere raced with the walk of BENEATH.
	for {
		got, err := unix.Openat2(fd, name, &how)
		if err != unix.EINTR && err != unix.EAGAIN {
			return got, err
		}
	}
}

// retry repeats what a signal interrupted.
func retry(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if err != unix.EINTR {
			return n, err
		}
	}
}

// room calls f, and again if the file system was full and Full has made room.
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
