package deploy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"osbuild-containers/internal/tree"
)

// kind is what a path is.
type kind uint8

const (
	nothing kind = iota // only a whiteout, or a directory that nothing is in yet
	leaf                // all that is not a directory
	dir
)

// errNotDir: a layer has something below what it has as a file.
var errNotDir = errors.New("a directory is needed where the layer has something else")

// treePath is a path of the tree that comes out.
type treePath = node[merged]

// merged is what the layers above, and the part of this one that was read, have
// settled about a path. Layers are counted from 1; 0 means no layer.
type merged struct {
	meta *tree.Meta // of a directory; nil: no layer has it
	file *inode     // of a leaf that has several names, or is written in the second pass

	// What hides the layers below: something that is not a directory; a whiteout; an
	// opaque directory, which hides only what is in it.
	leaf, whiteout, opaque int32

	top       int32 // the first layer, from above, in which it is a directory
	metaLayer int32 // the layer that meta is from

	kind  kind
	made  bool // it is on disk
	there bool // and it was before
}

// hides reports whether the path is hidden in layer k.
func (m *merged) hides(k int32) bool { return m.leaf > k || m.whiteout > k }

// hidesIn reports whether what is in the directory is hidden in layer k.
func (m *merged) hidesIn(k int32) bool { return m.leaf > k || m.whiteout > k || m.opaque > k }

// at returns the path in the tree of a path of the layer, nil when layers above hide
// it. That stays so until the layer ends.
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

// path returns the name of a path of the tree.
func (d *deployer) path(n *treePath) string {
	d.steps += int64(n.depth)
	return d.paths.path(n)
}

// makeParents makes the directories that n is in.
func (d *deployer) makeParents(k int32, n *treePath) error {
	if n.depth <= 1 {
		return nil
	}
	return d.makeDir(k, d.paths.parent(n))
}

// imply makes the directories of a path which itself is hidden or excluded: a layer
// that has the path has them, too.
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

// visible returns the deepest directory on the way to o that the layer may make, and
// whether that is o.
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

// makeDir makes a directory, and those that it is in.
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
	there, err := d.tree.Mkdir(d.path(n))
	n.v.made, n.v.there = err == nil, there
	return err
}

// takeBack undoes what layer k has at a path. It reports whether a directory was
// removed from the disk, with all that is in it.
func (d *deployer) takeBack(k int32, n *treePath, gone bool) (removed bool, err error) {
	m := &n.v
	switch {
	case m.kind == dir && m.top == k, m.kind == leaf && m.leaf == k:
		if m.there {
			return false, fmt.Errorf("%q: %w", d.path(n), tree.ErrIsDir)
		}
		if m.made && !gone {
			if err := d.tree.Remove(d.path(n)); err != nil {
				return false, err
			}
			removed = m.kind == dir
		}
		*m = merged{leaf: m.leaf, whiteout: m.whiteout, opaque: m.opaque}
	case m.metaLayer == k:
		m.meta, m.metaLayer = nil, 0
	}
	if m.leaf == k {
		m.leaf = 0
	}
	return removed, nil
}

// finish gives the directories their metadata, the deepest first.
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
		if err := d.tree.SetDir(name, *m, n.v.there); err != nil {
			return d.in(int(n.v.metaLayer), err)
		}
		return nil
	case n.v.there:
		return nil // it was there before, and no layer has it
	default:
		m, err := d.implied()
		if err != nil {
			return fmt.Errorf("%q, which no layer has: %w", name, err)
		}
		return d.tree.SetDir(name, m, false)
	}
}
