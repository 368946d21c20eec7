package tree

import (
	"container/list"
	"errors"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// maxDirs is how many directories are kept open. Layers list a directory's files together, so few are enough.
const maxDirs = 200

// dir is an open directory.
type dir struct {
	fd   int
	name string
	used *list.Element // nil for the root, which is never closed

	// Inherited by new entries.
	setgid, acl bool
	label       string // SELinux label, or ""
}

// look reads what entries inherit from the directory.
func (d *dir) look() error {
	var st unix.Stat_t
	if err := unix.Fstat(d.fd, &st); err != nil {
		return err
	}
	d.setgid = st.Mode&unix.S_ISGID != 0
	_, err := unix.Fgetxattr(d.fd, aclDefault, nil)
	d.acl = err == nil
	var label [256]byte
	if n, err := unix.Fgetxattr(d.fd, selinux, label[:]); err == nil {
		d.label = string(label[:n])
	}
	return nil
}

// list returns up to n names in the directory, or all if n is negative.
func (d *dir) list(n int) ([]string, error) {
	fd, err := openat2(d.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), d.name)
	defer f.Close()
	names, err := f.Readdirnames(n)
	if n > 0 && len(names) == 0 {
		return nil, nil // io.EOF
	}
	return names, err
}

// cache holds the most recently used directories.
type cache struct {
	root *dir
	last *dir // most recently used
	open map[string]*dir
	lru  list.List // of *dir, most recently used first

	steps *int64
}

func (c *cache) init(root *dir, steps *int64) {
	c.root, c.last, c.open, c.steps = root, root, map[string]*dir{}, steps
}

func (c *cache) close() error {
	var errs []error
	for _, d := range c.open {
		errs = append(errs, unix.Close(d.fd))
	}
	c.open, c.last = nil, nil
	return errors.Join(append(errs, unix.Close(c.root.fd))...)
}

// get returns the open directory with that name. It stays open until the next call of get.
func (c *cache) get(name string) (*dir, error) {
	if name == c.last.name {
		return c.last, nil
	}
	if name == "." {
		c.last = c.root
		return c.root, nil
	}
	if d := c.open[name]; d != nil {
		c.lru.MoveToFront(d.used)
		c.last = d
		return d, nil
	}
	p, rest, err := c.nearest(name)
	if err != nil {
		return nil, err
	}
	d, err := p.open(name, rest)
	if err != nil {
		return nil, err
	}
	c.add(d)
	return d, nil
}

// nearby is how many levels up to look for an open directory. From there, or else from the root, the kernel walks the rest in
// one call: a handle on each level would cost much more per name once more directories are in use than can be open.
const nearby = 4

// nearest returns an open ancestor directory of name, and the rest of the name relative to it.
func (c *cache) nearest(name string) (d *dir, rest string, err error) {
	parent := name
	for range nearby {
		var base string
		if parent, base = split(parent); !valid(base) {
			return nil, "", ErrName
		}
		*c.steps++
		if parent == "." {
			return c.root, name, nil
		}
		if d := c.open[parent]; d != nil {
			return d, name[len(parent)+1:], nil
		}
	}
	for c := range strings.SplitSeq(parent, "/") {
		if !valid(c) {
			return nil, "", ErrName
		}
	}
	*c.steps += int64(strings.Count(parent, "/")) + 1
	return c.root, name, nil
}

// open opens the directory rest of d. name is its full name.
func (d *dir) open(name, rest string) (*dir, error) {
	fd, err := d.openDir(rest)
	if err != nil {
		return nil, err
	}
	got := &dir{fd: fd, name: name}
	if err := got.look(); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return got, nil
}

// openDir opens a directory below d. Of anything else the error is ErrNotDir.
func (d *dir) openDir(name string) (fd int, err error) {
	fd, err = openat2(d.fd, name, unix.O_RDONLY|unix.O_DIRECTORY)
	if err == unix.ENOTDIR || err == unix.ELOOP {
		err = ErrNotDir
	}
	return fd, err
}

func (c *cache) add(d *dir) {
	if c.lru.Len() >= maxDirs {
		c.drop(c.lru.Back().Value.(*dir))
	}
	d.used = c.lru.PushFront(d)
	c.open[d.name] = d
	c.last = d
}

// forget closes the directories at and below a name that is about to be removed.
func (c *cache) forget(name string) {
	for other, d := range c.open {
		if below(other, name) {
			c.drop(d)
		}
	}
}

func (c *cache) drop(d *dir) {
	c.lru.Remove(d.used)
	delete(c.open, d.name)
	if c.last == d {
		c.last = c.root
	}
	_ = unix.Close(d.fd)
}

// below reports whether name equals top or is below it.
func below(name, top string) bool {
	return len(name) >= len(top) && name[:len(top)] == top && (len(name) == len(top) || name[len(top)] == '/')
}

// valid reports whether base is a single component other than "." and "..".
func valid(base string) bool {
	if base == "" || base == "." || base == ".." {
		return false
	}
	for i := range len(base) {
		if base[i] == '/' || base[i] == 0 {
			return false
		}
	}
	return true
}
