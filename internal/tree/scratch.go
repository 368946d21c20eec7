package tree

import (
	"crypto/rand"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Scratch creates a directory with a random name in the root, for files to be moved to their places later, and returns it as a
// Root. remove removes it with its content; the root then has its former time, unless something else was created in it.
func (r *Root) Scratch() (s *Root, remove func() error, err error) {
	fd := r.dirs.root.fd
	name := ".container-deploy-" + rand.Text()
	var before unix.Stat_t
	if err := unix.Fstat(fd, &before); err != nil {
		return nil, nil, fail("stat", ".", err)
	}
	if s, err = r.Sub(name); err != nil {
		return nil, nil, err
	}
	// Restore the root's time at once: anything else created in it changes it again.
	restore := func() error {
		if err := futimens(fd, []unix.Timespec{{Nsec: unix.UTIME_OMIT}, before.Mtim}); err != nil {
			return fail("set time", ".", err)
		}
		return nil
	}
	if err := restore(); err != nil { // the root belongs to another user
		_ = s.Close()
		return nil, nil, errors.Join(err, r.Remove(name))
	}
	return s, func() error {
		_ = s.Close()
		var now unix.Stat_t
		if err := unix.Fstat(fd, &now); err != nil {
			return fail("stat", ".", err)
		}
		if err := r.Remove(name); err != nil {
			return err
		}
		if now.Mtim != before.Mtim {
			return nil
		}
		return restore()
	}, nil
}

// Sub creates a directory and returns it as a Root, which another goroutine may use.
func (r *Root) Sub(name string) (*Root, error) {
	parent, base := split(name)
	d, err := r.parent(parent, base)
	if err == nil {
		err = unix.Mkdirat(d.fd, base, 0o700)
	}
	var top *dir
	if err == nil {
		if top, err = d.open(".", base); err != nil {
			_ = unix.Unlinkat(d.fd, base, unix.AT_REMOVEDIR)
		}
	}
	if err != nil {
		return nil, fail("make directory", name, err)
	}
	sub := &Root{buffered: r.buffered}
	sub.dirs.init(top, &sub.Steps)
	return sub, nil
}

// Move moves a file from another Root to name, replacing what Create would replace. The error is EXDEV if the file system would
// have to copy, or would keep a different SELinux label than a new file inherits.
func (r *Root) Move(name string, from *Root, old string) error {
	parent, base := split(name)
	d, err := r.parent(parent, base)
	var source *dir
	oldParent, oldBase := split(old)
	if err == nil {
		source, err = from.parent(oldParent, oldBase)
	}
	if err == nil && d.label != source.label {
		err = unix.EXDEV
	}
	if err == nil {
		err = r.room(func() error { return unix.Renameat(source.fd, oldBase, d.fd, base) })
	}
	if err == unix.EISDIR {
		err = ErrIsDir
	}
	if err != nil {
		return fail("create", name, err)
	}
	return nil
}

// OpenFile opens a regular file for reading.
func (r *Root) OpenFile(name string) (*os.File, error) {
	parent, base := split(name)
	d, err := r.parent(parent, base)
	var fd int
	if err == nil {
		fd, err = openat2(d.fd, base, unix.O_RDONLY|unix.O_NONBLOCK)
	}
	if err != nil {
		return nil, fail("open", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}
