package tree

import (
	"errors"
	"hash/maphash"
	"time"

	"golang.org/x/sys/unix"

	"osbuild-containers/internal/userns"
)

// Mkdir makes a directory that only its owner can enter, until SetDir gives it its mode.
// A directory that exists stays as it is, and there is true.
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

// SetDir gives a directory its metadata. Do it last: what is made in it changes its
// time, and its mode may keep others from making anything. wasThere means that Mkdir
// found it: its ACLs are then removed as well.
func (r *Root) SetDir(name string, m Meta, wasThere bool) error {
	in := r.dirs.root
	if name != "." {
		parent, base := split(name)
		p, err := r.parent(parent, base)
		if err != nil {
			return fail("open", name, err)
		}
		in = &dir{setgid: p.setgid, acl: p.acl}
	}
	d, err := r.dirs.get(name)
	if err != nil {
		return fail("open", name, err)
	}
	if err := r.apply(d.fd, name, &m, in, wasThere); err != nil {
		return fail("directory", name, err)
	}
	return nil
}

// SetMeta gives something that is not a directory other metadata, as those who unpack do it
// for the header of a hard link: attributes that m does not have stay, and a symbolic
// link keeps its time.
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

// chown gives something an owner, unless it is that already: the kernel takes the
// capabilities of what changes its owner.
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

// Symlink makes a symbolic link. The target is text and is not resolved.
func (r *Root) Symlink(name, target string, m Meta) error {
	return r.node("make symbolic link", name, &m, true, func(fd int, base string) error {
		return unix.Symlinkat(target, fd, base)
	})
}

// Mknod makes a device or a fifo: kind is S_IFCHR, S_IFBLK or S_IFIFO. For all but root of the host, devices are
// left out, as podman does, and Unsupported is called; Link to, and SetMeta of, such a name do nothing.
func (r *Root) Mknod(name string, kind, major, minor uint32, m Meta) error {
	dev := int(unix.Mkdev(major, minor))
	err := r.node("make device or fifo", name, &m, false, func(fd int, base string) error {
		return unix.Mknodat(fd, base, kind|0o600, dev)
	})
	if kind != unix.S_IFIFO && errors.Is(err, unix.EPERM) && r.Unsupported != nil && userns.Restricted() {
		r.leaveOut(name)
		r.Unsupported(name, "", userns.NoDevices)
		return nil
	}
	return err
}

// leaveOut records that a name was left out. A hash stands for it: there may be many, and an error that it does not
// exist has to go with it.
func (r *Root) leaveOut(name string) {
	if r.leftOut == nil {
		r.leftOut, r.seed = map[uint64]struct{}{}, maphash.MakeSeed()
	}
	r.leftOut[maphash.String(r.seed, name)] = struct{}{}
}

// isLeftOut reports whether an error is that of a name that does not exist since it was left out.
func (r *Root) isLeftOut(name string, err error) bool {
	if len(r.leftOut) == 0 || !errors.Is(err, unix.ENOENT) {
		return false
	}
	_, left := r.leftOut[maphash.String(r.seed, name)]
	return left
}

// Link makes name a hard link to what was made as old, which is not followed.
func (r *Root) Link(name, old string) error {
	oldParent, oldBase := split(old)
	from, err := r.parent(oldParent, oldBase)
	if err != nil {
		return fail("hard link to", old, err)
	}
	// The handle of the one directory must outlive finding the other.
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

// node makes something that is neither a file nor a directory, in the place of what has
// that name.
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

// parent returns the open directory parent, in which base is about to be named.
func (r *Root) parent(parent, base string) (*dir, error) {
	if !valid(base) {
		return nil, ErrName
	}
	return r.dirs.get(parent)
}

// clear removes what is in the way of a new file, unless it is a directory.
func (d *dir) clear(base string) error {
	err := unix.Unlinkat(d.fd, base, 0)
	if err == unix.EISDIR {
		return ErrIsDir
	}
	return err
}
