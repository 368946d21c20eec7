package deploy

import (
	"errors"
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"osbuild-containers/internal/layer"
	"osbuild-containers/internal/tree"
)

// layerState is what has to be known of the layer that is being read: it is a tree of
// its own, most of which may be hidden.
type layerState struct {
	k     int32
	links symlinks
	lost  map[string]origin // what it has that was not written
	gone  map[string]marker // what it removes

	parent     *node // of the last entry
	parentName string
	implied    string // what imply saw last

	whites map[string]bool // what it has as whiteouts of overlayfs

	wanted    map[string]origin    // what the layers above have hard links to
	crossings map[string]*crossing // what it has hard links to itself, in the layers below
}

func newLayer(k int) *layerState {
	return &layerState{
		k:     int32(k),
		links: symlinks{targets: map[string]string{}, folders: map[string]map[string]bool{}},
		lost:  map[string]origin{},
		gone:  map[string]marker{},

		whites:    map[string]bool{},
		crossings: map[string]*crossing{},
	}
}

// resolve returns where a name of the layer is: in the folder to which the layer's
// own symbolic links lead.
func (l *layerState) resolve(name string) (string, error) {
	if len(l.links.targets) == 0 || name == "." {
		return name, nil
	}
	parent, base := split(name)
	if parent == "." || parent == l.parentName && l.parent != nil {
		return name, nil
	}
	at, err := resolve(parent, l.links.target)
	if err != nil {
		return "", err
	}
	return join(at, base), nil
}

// entry decides about one entry, and writes it.
func (d *deployer) entry(l *layerState, e *layer.Entry, content io.Reader) error {
	if err := d.names(e); err != nil {
		return err
	}
	name := clean(e.Name)
	if err := d.limits.depth(name); err != nil {
		return err
	}
	what, name, err := parse(name)
	if err == nil && what != ignored {
		if name, err = l.resolve(name); err == nil {
			err = d.limits.depth(name)
		}
	}
	if err != nil {
		return fmt.Errorf("%q: %w", e.Name, err)
	}
	if e.Type == layer.Char && e.Major == 0 && e.Minor == 0 && what == plain {
		return d.white(l, name) // as overlayfs has it
	}
	if e.Type == layer.Hardlink && what == plain {
		// overlayfs makes one whiteout and links the others to it
		if target, err := l.resolve(clean(e.Link)); err == nil && l.whites[target] {
			return d.white(l, name)
		}
	}
	if what == plain {
		delete(l.whites, name)
	}
	switch what {
	case ignored:
		if e.Type == layer.File {
			l.lost[clean(e.Name)] = origin{index: e.Index, layer: l.k} // aufs keeps the files there that have several links
		}
		return nil
	case removed, emptied:
		return d.remove(l, name, what)
	}
	n, err := d.at(l, name)
	if err != nil {
		return fmt.Errorf("%q: %w", e.Name, err)
	}
	l.links.remove(name, e.Type != layer.Dir)
	delete(l.lost, name)
	if below(l.parentName, name) || below(l.implied, name) || e.Type == layer.Symlink {
		l.parent, l.implied = nil, "" // it may be about to become something else
	}
	if e.Type == layer.Symlink {
		l.links.add(name, e.Link)
	}
	excluded := d.exclude.has(name)
	if n == nil || excluded {
		if err := d.imply(l, name); err != nil {
			return err
		}
	}
	if e.Type == layer.Dir {
		if n == nil {
			return nil
		}
		return d.dir(l, e, name, n, excluded)
	}
	return d.leaf(l, e, name, n, excluded, content)
}

// white takes a whiteout as overlayfs has it, which is the entry of that name.
func (d *deployer) white(l *layerState, name string) error {
	l.links.remove(name, true)
	delete(l.lost, name)
	l.note(name, origin{})
	l.parent, l.implied = nil, ""
	if n := d.root.find(name); n != nil && (n.kind == dir && (n.top == l.k || n.said == l.k) || n.kind == leaf && n.leaf == l.k) {
		if err := d.drop(l.k, name, n); err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
		if n.leaf == l.k {
			n.leaf = 0
		}
	}
	if err := d.remove(l, name, removed); err != nil {
		return err
	}
	l.whites[name] = true
	return nil
}

// remove takes a whiteout, or the marker that empties a folder. Neither makes the
// folder that it is in.
func (d *deployer) remove(l *layerState, name string, what marker) error {
	l.gone[name] = what
	n, err := d.at(l, name)
	if errors.Is(err, errNotDir) {
		return nil // a whiteout in what is no folder removes nothing
	}
	if err != nil {
		return err
	}
	if n == nil && what == emptied {
		return d.imply(l, name)
	}
	if n == nil {
		return nil
	}
	if what == removed {
		n.removed = l.k
		return nil
	}
	if n.kind == leaf {
		return nil
	}
	n.emptied = max(n.emptied, l.k)
	if d.exclude.has(name) {
		return nil
	}
	return d.makeDir(l.k, name, n)
}

// dir takes a folder.
func (d *deployer) dir(l *layerState, e *layer.Entry, name string, n *node, excluded bool) error {
	if n.kind == leaf {
		if err := d.drop(l.k, name, n); err != nil {
			return err
		}
		n.leaf = 0
	}
	if n.leaf == l.k {
		n.leaf = 0 // it was something else before, in the same layer
	}
	if e.Xattrs[overlayHides] == "y" {
		n.emptied = max(n.emptied, l.k)
	}
	if n.said == 0 || n.said == l.k {
		m, err := d.meta(e)
		if err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
		n.meta, n.said = &m, l.k
	}
	if excluded || name == "." {
		return nil // what is in it may be kept, and then it is made
	}
	return d.makeDir(l.k, name, n)
}

// leaf takes all that is no folder.
func (d *deployer) leaf(l *layerState, e *layer.Entry, name string, n *node, excluded bool, content io.Reader) error {
	if name == "." {
		return fmt.Errorf("%q: the root must be a directory", e.Name)
	}
	if n != nil && n.kind == dir {
		// Below a folder of the layers above, or in place of one of this layer.
		upper := n.top > l.k
		if err := d.drop(l.k, name, n); err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
		n.leaf = l.k
		if upper {
			n = nil
		}
	}
	if e.Type == layer.Hardlink {
		return d.hardlink(l, e, name, n, excluded)
	}
	if n == nil || excluded {
		l.lose(name, origin{index: e.Index, layer: l.k})
		return nil
	}
	if err := d.makeParents(l.k, name); err != nil {
		return err
	}
	l.note(name, origin{index: e.Index, layer: l.k, path: name})
	*n = node{kids: n.kids, kind: leaf, leaf: l.k, removed: n.removed, emptied: n.emptied, made: true, index: int32(e.Index)}
	return d.write(name, e, content)
}

// write makes what the entry says, which is no folder and no hard link.
func (d *deployer) write(name string, e *layer.Entry, content io.Reader) error {
	m, err := d.meta(e)
	if err != nil {
		return fmt.Errorf("%q: %w", name, err)
	}
	switch e.Type {
	case layer.Symlink:
		if e.Link == "" {
			return fmt.Errorf("%q: a symbolic link to nothing", name)
		}
		return d.tree.Symlink(name, e.Link, m)
	case layer.Char, layer.Block:
		kind := uint32(unix.S_IFCHR)
		if e.Type == layer.Block {
			kind = unix.S_IFBLK
		}
		if e.Major < 0 || e.Minor < 0 || e.Major >= 1<<12 || e.Minor >= 1<<20 {
			return fmt.Errorf("%q: %d:%d is no device", name, e.Major, e.Minor)
		}
		return d.tree.Mknod(name, kind, uint32(e.Major), uint32(e.Minor), m)
	case layer.Fifo:
		return d.tree.Mknod(name, unix.S_IFIFO, 0, 0, m)
	default:
		return d.file(name, e, m, content)
	}
}

// file writes a regular file.
func (d *deployer) file(name string, e *layer.Entry, m tree.Meta, content io.Reader) error {
	f, err := d.tree.Create(name, e.Sparse)
	if err != nil {
		return err
	}
	for {
		n, err := content.Read(d.buf)
		if n > 0 {
			if _, err := f.Write(d.buf[:n]); err != nil {
				f.Abort()
				return err
			}
		}
		if err == io.EOF {
			return f.Close(m)
		}
		if err != nil {
			f.Abort()
			return fmt.Errorf("%q: %w", name, err)
		}
	}
}
