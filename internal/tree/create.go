package tree

import (
	"errors"
	"hash/maphash"
	"time"

	"golang.org/x/sys/unix"

	"osbuild-containers/internal/userns"
)

// Mkdir creates a directory with mode 0700; SetDir sets its final mode. If the directory exists it is left unchanged, and there
// is true.
func (r *Root) Mkdir(name string) (there bool, err error) {
	parent, base := split(name)
	d, err := r.parent(parent, base)
	if err != nil {
		return false, fail("make directory", name, err)
	}
	err = r.room(func() error { return unix.Mkdirat(d.fd, base, 0o700) })
	if err == nil {
		return false, nil
	}
	if err != unix.EEXIST {
		return false, fail("make directory", name, err)
	}
	if _, err := r.dirs.get(name); err != nil {
		return false, fail("make directory", name, err)
	}
	return true, nil
}

// SetDir sets a directory's metadata. Call it after the directory's content is complete: creating files changes its time, and
// its mode may forbid that. wasThere means that Mkdir found the directory: its ACLs are then removed, too.
func (r *Root) SetDir(name string, m Meta, wasThere bool) error {
	fd, in := r.dirs.root.fd, r.dirs.root
	if name != "." {
		parent, base := split(name)
		p, err := r.parent(parent, base)
		if err != nil {
			return fail("open", name, err)
		}
		in = p
		if d := r.dirs.open[name]; d != nil {
			fd = d.fd
		} else {
			if fd, err = p.openDir(base); err != nil {
				return fail("open", name, err)
			}
			defer func() { _ = unix.Close(fd) }()
		}
	}
	if err := r.apply(fd, name, &m, in, wasThere); err != nil {
		return fail("directory", name, err)
	}
	return nil
}

// SetMeta sets the metadata of something that is not a directory, like tar does for the header of a hard link: attributes not in
// m stay, and a symbolic link keeps its time.
func (r *Root) SetMeta(name string, m Meta, link bool) error {
	parent, base := split(name)
	d, err := r.parent(parent, base)
	if err != nil {
		return fail("set metadata", name, err)
	}
	if link {
		m.ModTime = time.Time{}
	}
	if err = d.chown(base, m.UID, m.GID); err != nil {
		err = userns.OwnerError(m.UID, m.GID, err)
	} else {
		err = r.setAt(d, name, base, &m, link)
	}
	if err != nil && !r.isLeftOut(name, err) {
		return fail("set metadata", name, err)
	}
	return nil
}

// chown sets the owner unless it is set already: changing the owner drops capabilities.
func (d *dir) chown(base string, uid, gid int) error {
	var st unix.Stat_t
	if err := unix.Fstatat(d.fd, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if int(st.Uid) == uid && int(st.Gid) == gid {
		return nil
	}
	return unix.Fchownat(d.fd, base, uid, gid, unix.AT_SYMLINK_NOFOLLOW)
}

// Symlink creates a symbolic link. The target is not resolved.
func (r *Root) Symlink(name, target string, m Meta) error {
	return r.node("make symbolic link", name, &m, true, func(fd int, base string) error {
		return unix.Symlinkat(target, fd, base)
	})
}

// Mknod creates a device or a FIFO: kind is S_IFCHR, S_IFBLK or S_IFIFO. Devices that this process, or the server of the file
// system, has no right to make are left out, as podman does, and Unsupported is called; Link to and SetMeta of such a name
// then do nothing.
func (r *Root) Mknod(name string, kind, major, minor uint32, m Meta) error {
	dev := int(unix.Mkdev(major, minor))
	err := r.node("make device or fifo", name, &m, false, func(fd int, base string) error {
		return unix.Mknodat(fd, base, kind|0o600, dev)
	})
	if kind != unix.S_IFIFO && errors.Is(err, unix.EPERM) && r.Unsupported != nil {
		r.leaveOut(name)
		r.Unsupported(name, "", userns.NoDevices)
		return nil
	}
	return err
}

// leaveOut records that a name was left out, as a hash, since there may be many. Errors that it does not exist are then ignored.
func (r *Root) leaveOut(name string) {
	if r.leftOut == nil {
		r.leftOut, r.seed = map[uint64]struct{}{}, maphash.MakeSeed()
	}
	r.leftOut[maphash.String(r.seed, name)] = struct{}{}
}

// isLeftOut reports whether err says that a name does not exist because it was left out.
func (r *Root) isLeftOut(name string, err error) bool {
	if len(r.leftOut) == 0 || !errors.Is(err, unix.ENOENT) {
		return false
	}
	_, left := r.leftOut[maphash.String(r.seed, name)]
	return left
}

// Link creates name as a hard link to old, which is not followed.
func (r *Root) Link(name, old string) error {
	oldParent, oldBase := split(old)
	from, err := r.parent(oldParent, oldBase)
	if err != nil {
		return fail("hard link to", old, err)
	}
	// Looking up the other directory may close this one: keep a copy of the handle.
	fd, err := unix.FcntlInt(uintptr(from.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return fail("hard link to", old, err)
	}
	defer func() { _ = unix.Close(fd) }()
	err = r.node("hard link", name, nil, false, func(to int, base string) error {
		return unix.Linkat(fd, oldBase, to, base, 0)
	})
	if r.isLeftOut(old, err) {
		r.leaveOut(name)
		r.Unsupported(name, "", userns.NoDevices)
		return nil
	}
	return err
}

// node creates something that is neither a file nor a directory, replacing anything but a directory.
func (r *Root) node(op, name string, m *Meta, link bool, create func(fd int, base string) error) error {
	parent, base := split(name)
	d, err := r.parent(parent, base)
	if err != nil {
		return fail(op, name, err)
	}
	try := func() error { return create(d.fd, base) }
	err = r.room(try)
	if err == unix.EEXIST {
		if err = d.clear(base); err == nil {
			err = r.room(try)
		}
	}
	if err == nil && m != nil {
		err = r.applyAt(d, name, base, m, link)
	}
	if err != nil {
		return fail(op, name, err)
	}
	return nil
}

// parent returns the open directory parent, in which base is about to be created.
func (r *Root) parent(parent, base string) (*dir, error) {
	if !valid(base) {
		return nil, ErrName
	}
	return r.dirs.get(parent)
}

// clear removes base unless it is a directory.
func (d *dir) clear(base string) error {
	err := unix.Unlinkat(d.fd, base, 0)
	if err == unix.EISDIR {
		return ErrIsDir
	}
	return err
}
