package ext4

import (
	"errors"
	"fmt"
	iofs "io/fs"
	"strings"
	"time"
)

// Meta is the metadata of a file, directory, link or device.
type Meta struct {
	UID, GID int
	Mode     uint32    // permissions with setuid, setgid and sticky
	ModTime  time.Time // also the access time; zero means Options.Time
	Xattrs   map[string]string
}

// Info describes a file of any type.
type Info struct {
	Meta
	Type         uint32 // one of S_IFREG, S_IFDIR, S_IFLNK, S_IFCHR, S_IFBLK, S_IFIFO, S_IFSOCK
	Size         int64  // of files, symbolic links and, after Sync, directories
	Inode, Links uint32
	Target       string // of symbolic links
	Major, Minor uint32 // of devices
}

func fail(op, name string, err error) error { return fmt.Errorf("%s %q: %w", op, name, err) }

// split returns the parent directory and the last component of a name other than ".".
func split(name string) (parent, base string) {
	i := strings.LastIndexByte(name, '/')
	if i < 0 {
		return ".", name
	}
	return name[:i], name[i+1:]
}

func valid(base string) bool {
	return base != "" && base != "." && base != ".." && len(base) <= 255 && strings.IndexByte(base, 0) < 0
}

// find returns the node at a name.
func (fs *FS) find(name string) (*node, error) {
	n := fs.root
	if name == "." {
		return n, nil
	}
	for base := range strings.SplitSeq(name, "/") {
		switch {
		case !valid(base):
			return nil, ErrName
		case n.dir == nil:
			return nil, ErrNotDir
		}
		e := n.dir.names[base]
		if e.node == nil || e.gone {
			return nil, iofs.ErrNotExist
		}
		n = e.node
	}
	return n, nil
}

// parent returns the parent directory of a name, and its last component.
func (fs *FS) parent(name string) (in *node, base string, err error) {
	dir, base := split(name)
	if !valid(base) {
		return nil, "", ErrName
	}
	if in, err = fs.find(dir); err == nil && in.dir == nil {
		err = ErrNotDir
	}
	return in, base, err
}

// forLeaf is parent for a file other than a directory, and checks that it may be created.
func (fs *FS) forLeaf(name string) (in *node, base string, err error) {
	if in, base, err = fs.parent(name); err != nil {
		return nil, "", err
	}
	if e := in.dir.names[base]; e.node != nil && e.dir != nil && (!e.gone || e.node == fs.lost) {
		return nil, "", ErrIsDir
	}
	return in, base, nil
}

// reusable returns the node at a name if its replacement can use the same inode: then the directory
// does not change, and the inode table changes in one place.
func reusable(in *node, base string) *node {
	if e := in.dir.names[base]; e.node != nil && e.dir == nil && e.links == 1 {
		return e.node
	}
	return nil
}

// leaf returns an empty node for a file other than a directory.
func (fs *FS) leaf(in *node, base string, kind uint32) *node {
	n := reusable(in, base)
	if n == nil {
		n = &node{links: 1}
		fs.setInode(n, fs.inodes.take(false))
	} else {
		fs.releaseData(n)
	}
	fs.enterLeaf(in, base, n, kind)
	n.size, n.target, n.dev = 0, "", [2]uint32{}
	return n
}

// enterLeaf adds a node to a directory, unless it is there under that name with the same type.
func (fs *FS) enterLeaf(in *node, base string, n *node, kind uint32) {
	if e := in.dir.names[base]; e.node != n || n.mode&typeMask != kind {
		fs.enter(in, base, n)
	} else {
		in.dir.names[base] = entry{node: n}
	}
	n.mode = kind | n.mode&permissions
	fs.touch(n)
}

func (fs *FS) releaseData(n *node) {
	fs.releaseExtents(n.data)
	for _, b := range n.tree {
		fs.release(b.block, 1)
	}
	n.data, n.tree, n.dataChanged = nil, nil, true
}

// Mkdir creates a directory. It belongs to root and has mode 0755 until SetMeta. If the directory
// exists, it is not changed, and there is true.
func (fs *FS) Mkdir(name string) (there bool, err error) {
	if name == "." {
		return true, nil
	}
	in, base, err := fs.parent(name)
	if err != nil {
		return false, fail("make directory", name, err)
	}
	e := in.dir.names[base]
	switch {
	case e.node == nil || e.gone && e.dir == nil:
		fs.enter(in, base, fs.newDir(in, 0))
		return false, nil
	case e.dir == nil:
		return false, fail("make directory", name, ErrNotDir)
	case !e.gone:
		return true, nil
	}
	// It was removed since the last Sync: it comes back empty.
	in.dir.names[base] = entry{node: e.node}
	fs.removeAll(e.node)
	return false, fs.setMeta(e.node, Meta{Mode: 0o755})
}

// removeAll removes all entries of a directory.
func (fs *FS) removeAll(n *node) {
	for base, e := range n.dir.names {
		n.dir.names[base] = entry{e.node, true}
	}
	if len(n.dir.names) > 0 {
		fs.listDir(n)
	}
}

// Remove removes a name and everything below it. It is not an error if the name does not exist. The
// directory lost+found, which e2fsck needs, is emptied but not removed.
func (fs *FS) Remove(name string) error {
	in, base, err := fs.parent(name)
	if errors.Is(err, iofs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fail("remove", name, err)
	}
	switch e := in.dir.names[base]; {
	case e.node == nil || e.gone:
	case e.node == fs.lost:
		fs.removeAll(e.node)
		return fs.setMeta(e.node, Meta{Mode: 0o700})
	default:
		in.dir.names[base] = entry{e.node, true}
		fs.listDir(in)
	}
	return nil
}

// Symlink creates a symbolic link. The target is not interpreted.
func (fs *FS) Symlink(name, target string, m Meta) error {
	const op = "make symbolic link"
	if target == "" || len(target) >= blockSize || strings.IndexByte(target, 0) >= 0 {
		return fail(op, name, fmt.Errorf("invalid target %q", target))
	}
	in, base, err := fs.forLeaf(name)
	if err != nil {
		return fail(op, name, err)
	}
	n := reusable(in, base)
	if n != nil && n.target == target {
		fs.enterLeaf(in, base, n, typeSymlink)
	} else {
		n = fs.leaf(in, base, typeSymlink)
		n.size, n.target = int64(len(target)), target
		if len(target) >= inodeBlockSize { // shorter targets are in the inode
			n.data = fs.allocate(1)
			block := make([]byte, blockSize)
			copy(block, target)
			fs.write(n.data[0].block, block)
		}
	}
	m.Mode = permissions & 0o777
	if err := fs.setMeta(n, m); err != nil {
		return fail(op, name, err)
	}
	return nil
}

// Mknod creates a device, a fifo or a socket: kind is S_IFCHR, S_IFBLK, S_IFIFO or S_IFSOCK.
func (fs *FS) Mknod(name string, kind, major, minor uint32, m Meta) error {
	const op = "make device, fifo or socket"
	switch kind {
	case typeChar, typeBlock:
		if major >= 1<<12 || minor >= 1<<20 {
			return fail(op, name, fmt.Errorf("invalid device number %d:%d", major, minor))
		}
	case typeFifo, typeSocket:
		major, minor = 0, 0
	default:
		return fail(op, name, fmt.Errorf("invalid type %#o", kind))
	}
	in, base, err := fs.forLeaf(name)
	if err != nil {
		return fail(op, name, err)
	}
	n := fs.leaf(in, base, kind)
	n.dev = [2]uint32{major, minor}
	if err := fs.setMeta(n, m); err != nil {
		return fail(op, name, err)
	}
	return nil
}

// Link creates name as a hard link to old. It does not follow a symbolic link.
func (fs *FS) Link(name, old string) error {
	n, err := fs.find(old)
	switch {
	case err != nil:
	case n.dir != nil:
		err = ErrIsDir
	case n.links >= maxLinks:
		err = ErrLinks
	}
	if err != nil {
		return fail("hard link to", old, err)
	}
	in, base, err := fs.forLeaf(name)
	if err != nil {
		return fail("hard link", name, err)
	}
	if in.dir.names[base].node == n {
		in.dir.names[base] = entry{node: n} // it may have been removed since the last Sync
		return nil
	}
	n.links++
	fs.enter(in, base, n)
	fs.touch(n)
	return nil
}

// List returns the names of the entries of a directory, sorted.
func (fs *FS) List(name string) ([]string, error) {
	n, err := fs.find(name)
	if err == nil && n.dir == nil {
		err = ErrNotDir
	}
	if err != nil {
		return nil, fail("list", name, err)
	}
	return n.dir.sortedNames(), nil
}

// Resolve returns the name to which a name leads under chroot: symbolic links are followed, the last one too, absolute
// targets begin at the root, and ".." ends there. Nothing need exist under the name that it returns.
func (fs *FS) Resolve(name string) (string, error) {
	at, rest := []string(nil), strings.Split(name, "/")
	for links := 0; len(rest) > 0; {
		base := rest[0]
		rest = rest[1:]
		switch base {
		case "", ".":
			continue
		case "..":
			at = at[:max(len(at)-1, 0)]
			continue
		}
		at = append(at, base)
		n, err := fs.find(strings.Join(at, "/"))
		if err != nil || n.target == "" {
			continue
		}
		if links++; links > maxFollowed {
			return "", fail("look up", name, errors.New("too many symbolic links"))
		}
		at = at[:len(at)-1]
		if n.target[0] == '/' {
			at = nil
		}
		rest = append(strings.Split(n.target, "/"), rest...)
	}
	if len(at) == 0 {
		return ".", nil
	}
	return strings.Join(at, "/"), nil
}

const maxFollowed = 40 // symbolic links of a name, as in the kernel

// SetMeta replaces all metadata of a file of any type. The mode of a symbolic link stays 0777.
func (fs *FS) SetMeta(name string, m Meta) error {
	n, err := fs.find(name)
	if err == nil {
		if n.mode&typeMask == typeSymlink {
			m.Mode = 0o777
		}
		err = fs.setMeta(n, m)
	}
	if err != nil {
		return fail("set metadata of", name, err)
	}
	return nil
}

func (fs *FS) setMeta(n *node, m Meta) error {
	fs.touch(n)
	n.uid, n.gid = uint32(m.UID), uint32(m.GID)
	n.mode = n.mode&typeMask | m.Mode&permissions
	n.mtime = fs.time
	if !m.ModTime.IsZero() {
		n.mtime = newTimestamp(m.ModTime)
	}
	return fs.setAttrs(n, m.Xattrs)
}

// Stat describes the file at a name. The error wraps fs.ErrNotExist if there is none.
func (fs *FS) Stat(name string) (Info, error) {
	n, err := fs.find(name)
	if err != nil {
		return Info{}, fail("look up", name, err)
	}
	return fs.info(n)
}

func (fs *FS) info(n *node) (Info, error) {
	attrs, err := fs.attrsOf(n)
	i := Info{
		Meta: Meta{UID: int(n.uid), GID: int(n.gid), Mode: n.mode & permissions, ModTime: n.mtime.time(), Xattrs: attrs},
		Type: n.mode & typeMask, Size: n.size, Inode: n.ino, Links: n.links,
		Target: n.target, Major: n.dev[0], Minor: n.dev[1],
	}
	if n.dir != nil {
		i.Links = 2 + n.dir.subdirs
	}
	return i, err
}

// Walk calls f for each name in the tree, in order, directories before their content. A file with
// several names is visited under each of them. Walk stops at the first error of f. f may change
// metadata, but nothing else.
func (fs *FS) Walk(f func(name string, i Info) error) error { return fs.walk(".", fs.root, f) }

func (fs *FS) walk(name string, n *node, f func(string, Info) error) error {
	i, err := fs.info(n)
	if err == nil {
		err = f(name, i)
	}
	if err != nil || n.dir == nil {
		return err
	}
	for _, base := range n.dir.sortedNames() {
		path := base
		if name != "." {
			path = name + "/" + base
		}
		if err := fs.walk(path, n.dir.names[base].node, f); err != nil {
			return err
		}
	}
	return nil
}
