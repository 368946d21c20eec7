package deploy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"osbuild-containers/internal/tree"
)

// kind is the type of a path.
type kind uint8

const (
	nothing kind = iota // only a whiteout, or a directory without entries so far
	leaf                // anything but a directory
	dir
)

// errNotDir is the error of a layer with a path below something that it has as a file.
var errNotDir = errors.New("a directory is needed where the layer has something else")

// treePath is a path in the resulting tree.
type treePath = node[merged]

// merged is what the layers read so far determine about a path. Layers are counted from 1; 0 means
// no layer.
type merged struct {
	meta *tree.Meta // of a directory; nil: no layer has an entry for it
	file *inode     // of a leaf with several names, or one written in the second pass

	// The layer that hides the path in the layers below by something other than a directory, by a
	// whiteout, and by an opaque directory, which hides only the content.
	leaf, whiteout, opaque int32

	top       int32 // the topmost layer in which it is a directory
	metaLayer int32 // the layer of meta

	kind  kind
	made  bool // it is on disk
	there bool // it was on disk before the deployment

	cleared bool // a directory of the layers below was removed there
}

// hides reports whether the path is hidden in layer k.
func (m *merged) hides(k int32) bool { return m.leaf > k || m.whiteout > k }

// hidesIn reports whether the content of the directory is hidden in layer k.
func (m *merged) hidesIn(k int32) bool { return m.leaf > k || m.whiteout > k || m.opaque > k }

// at returns the path in the tree for a path of the layer, nil if layers above hide it. The result
// does not change until the layer ends.
func (d *deployer) at(l *layerState, o *layerPath) (*treePath, error) {
	if o.v.asked {
		return o.v.node, nil
	}
	o.v.asked = true
	if o.id == 0 {
		o.v.node = d.paths.root()
		return o.v.node, nil
	}
	p, err := d.at(l, l.own.parent(o))
	if p == nil || err != nil || p.v.hidesIn(l.k) {
		return nil, err
	}
	d.steps++
	n := d.paths.child(p, o.name)
	if n == nil {
		if err := d.remember(nil, d.paths.cost()+int64(len(o.name))); err != nil {
			return nil, err
		}
		n = d.paths.add(p, o.name)
		d.paths.list(n)
	}
	if n.v.hides(l.k) {
		return nil, nil
	}
	o.v.node = n
	return n, nil
}

// path returns the full name of n.
func (d *deployer) path(n *treePath) string {
	d.steps += int64(n.depth)
	return d.paths.path(n)
}

// makeParents creates the parent directories of n.
func (d *deployer) makeParents(k int32, n *treePath) error {
	if n.depth <= 1 {
		return nil
	}
	return d.makeDir(k, d.paths.parent(n))
}

// imply creates the parent directories of a path that is itself hidden or excluded, since the layer
// has them too.
func (d *deployer) imply(l *layerState, o *layerPath) error {
	parent := l.own.parent(o)
	if parent == l.implied || parent.id == 0 {
		return nil
	}
	l.implied = parent
	n, _, err := d.visible(l, parent)
	if err != nil || n.id == 0 {
		return err
	}
	return d.makeDir(l.k, n)
}

// visible returns the deepest directory on the path to o that the layer may create, and whether
// that is o itself.
func (d *deployer) visible(l *layerState, o *layerPath) (n *treePath, all bool, err error) {
	d.steps++
	if o.id == 0 {
		return d.paths.root(), true, nil
	}
	p, all, err := d.visible(l, l.own.parent(o))
	if err != nil || !all {
		return p, false, err
	}
	n, err = d.at(l, o)
	if err != nil || n == nil || n.v.kind == leaf || d.excluded(l, o) {
		return p, false, err
	}
	return n, true, nil
}

// makeDir creates a directory and its parents.
func (d *deployer) makeDir(k int32, n *treePath) error {
	if n.v.kind == dir && n.v.made {
		return nil
	}
	d.steps++
	if n.v.kind == leaf && n.v.leaf > k {
		panic("deploy: a hidden directory is made: " + d.path(n))
	}
	if n.v.kind != dir {
		n.v.kind, n.v.top, n.v.file = dir, k, nil
	}
	if n.v.made {
		return nil
	}
	if err := d.makeParents(k, n); err != nil {
		return err
	}
	if err := d.makeWay(n, dir); err != nil {
		return err
	}
	there, err := d.dest.Mkdir(d.path(n))
	n.v.made, n.v.there = err == nil, there
	return err
}

// takeBack removes what layer k contributed to a path. It reports whether a directory was removed
// from disk with its content.
func (d *deployer) takeBack(k int32, n *treePath, gone bool) (removed bool, err error) {
	m := &n.v
	switch {
	case m.kind == dir && m.top == k, m.kind == leaf && m.leaf == k:
		if m.there && d.stack == nil {
			return false, fmt.Errorf("%q: %w", d.path(n), tree.ErrIsDir)
		}
		if m.made && !gone {
			if err := d.dest.Remove(d.path(n)); err != nil {
				return false, err
			}
			removed = m.kind == dir
		}
		*m = merged{leaf: m.leaf, whiteout: m.whiteout, opaque: m.opaque, cleared: m.cleared || m.there}
	case m.metaLayer == k:
		m.meta, m.metaLayer = nil, 0
	}
	if m.leaf == k {
		m.leaf = 0
	}
	return removed, nil
}

// finish sets the metadata of directories, the deepest first.
func (d *deployer) finish(n *treePath) error {
	var kids []*treePath
	for id := n.kid; id != 0; {
		c := d.paths.at(id)
		if c.v.kind == dir && c.v.made {
			kids = append(kids, c)
		}
		id = c.next
	}
	slices.SortFunc(kids, func(a, b *treePath) int { return strings.Compare(a.name, b.name) })
	for _, c := range kids {
		if err := d.finish(c); err != nil {
			return err
		}
	}
	name := d.path(n)
	switch m := n.v.meta; {
	case m != nil:
		if err := d.dest.SetDir(name, *m, n.v.there); err != nil {
			return d.in(int(n.v.metaLayer), err)
		}
		return nil
	case n.v.there:
		return nil // it existed before, and no layer has an entry for it
	default:
		m, err := d.implied()
		if err != nil {
			return fmt.Errorf("%q, which no layer has: %w", name, err)
		}
		return d.dest.SetDir(name, m, false)
	}
}
