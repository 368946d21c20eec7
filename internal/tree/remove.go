package tree

import (
	"golang.org/x/sys/unix"
)

// Remove removes a name and everything below it. It follows no link. It is not an error if the name does not exist.
func (r *Root) Remove(name string) error {
	parent, base := split(name)
	d, err := r.parent(parent, base)
	if err == unix.ENOENT {
		return nil
	}
	if err == nil {
		if err = unix.Unlinkat(d.fd, base, 0); err == nil {
			return nil
		}
		r.dirs.forget(name)
		err = d.remove(base)
	}
	if err != nil {
		return fail("remove", name, err)
	}
	return nil
}

// remove removes base from the directory recursively. Each level holds one descriptor; if none is left, it fails.
func (d *dir) remove(base string) error {
	err := unix.Unlinkat(d.fd, base, 0)
	if err == nil || err == unix.ENOENT {
		return nil
	}
	if err != unix.EISDIR {
		return err
	}
	sub, err := d.open(base, base)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(sub.fd) }()
	names, err := sub.list(-1)
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := sub.remove(n); err != nil {
			return err
		}
	}
	return unix.Unlinkat(d.fd, base, unix.AT_REMOVEDIR)
}

// Readlink returns the target of a symbolic link, and false for anything else or if name does not exist.
func (r *Root) Readlink(name string) (string, bool) {
	parent, base := split(name)
	d, err := r.parent(parent, base)
	if err != nil {
		return "", false
	}
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(d.fd, base, buf)
	return string(buf[:max(n, 0)]), err == nil
}

// Exists reports whether the name exists.
func (r *Root) Exists(name string) bool {
	if name == "." {
		return true
	}
	parent, base := split(name)
	d, err := r.parent(parent, base)
	if err != nil {
		return false
	}
	var st unix.Stat_t
	return unix.Fstatat(d.fd, base, &st, unix.AT_SYMLINK_NOFOLLOW) == nil
}
