package tree

import (
	"container/list"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// maxDirs is how many folders are kept open: layers name a folder's files one after
// the other, so few are enough.
const maxDirs = 200

// dir is an open folder.
type dir struct {
	fd   int
	name string
	used *list.Element // nil: the root, which stays

	// What it hands down to what is made in it, unasked.
	setgid, acl bool
}

// look finds out what the folder hands down.
func (d *dir) look() error {
	var st unix.Stat_t
	if err := unix.Fstat(d.fd, &st); err != nil {
		return err
	}
	d.setgid = st.Mode&unix.S_ISGID != 0
	_, err := unix.Fgetxattr(d.fd, aclDefault, nil)
	d.acl = err == nil
	return nil
}

// list returns up to n names of what is in the folder, all of them for a negative n.
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

// cache holds the folders that were used last.
type cache struct {
	root *dir
	last *dir // what was used last of all
	open map[string]*dir
	lru  list.List // of *dir, the last used first
}

func (c *cache) init(root *dir) {
	c.root, c.last, c.open = root, root, map[string]*dir{}
}

func (c *cache) close() error {
	var errs []error
	for _, d := range c.open {
		errs = append(errs, unix.Close(d.fd))
	}
	c.open, c.last = nil, nil
	return errors.Join(append(errs, unix.Close(c.root.fd))...)
}

// get returns the open folder of that name. It stays open until the next get.
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
	parent, base := split(name)
	if !valid(base) {
		return nil, ErrName
	}
	p, err := c.get(parent)
	if err != nil {
		return nil, err
	}
	d, err := p.open(name, base)
	if err != nil {
		return nil, err
	}
	c.add(d)
	return d, nil
}

// open opens the folder base of p, whose whole name is name.
func (d *dir) open(name, base string) (*dir, error) {
	fd, err := openat2(d.fd, base, unix.O_RDONLY|unix.O_DIRECTORY)
	if err == unix.ENOTDIR || err == unix.ELOOP {
		return nil, ErrNotDir
	}
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

func (c *cache) add(d *dir) {
	if c.lru.Len() >= maxDirs {
		c.drop(c.lru.Back().Value.(*dir))
	}
	d.used = c.lru.PushFront(d)
	c.open[d.name] = d
	c.last = d
}

// forget closes the folders at and below a name: they are about to be removed.
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

// below reports whether a name is another one or lies below it.
func below(name, top string) bool {
	return len(name) >= len(top) && name[:len(top)] == top && (len(name) == len(top) || name[len(top)] == '/')
}

// valid reports whether base is one component that stays in its folder.
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
