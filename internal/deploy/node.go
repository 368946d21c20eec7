package deploy

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"osbuild-containers/internal/layer"
	"osbuild-containers/internal/tree"
)

// kind is what a node is in the tree that comes out.
type kind uint8

const (
	nothing kind = iota // only a whiteout, or a folder that nothing is in yet
	leaf                // all that is no folder
	dir
)

// errNotDir: a layer puts something into what it has as a file.
var errNotDir = errors.New("a directory is needed where the layer has something else")

// node is a path of the tree that comes out, as far as the layers above and the part
// of this one that was read have settled it. Layers count from 1, so 0 is none.
type node struct {
	kids map[string]*node
	meta *tree.Meta // of a folder; nil: nobody said

	// What hides the layers below: something that is no folder; a whiteout; a marker
	// that empties the folder, which hides only what is in it.
	leaf, removed, emptied int32

	top   int32 // the first layer, from above, in which it is a folder
	said  int32 // the layer that meta is from
	index int32 // the entry of the layer that the leaf is from

	kind  kind
	made  bool   // it is on disk
	there bool   // and it was before
	group *group // it will be made in the second pass
}

// hides reports whether layer k can say nothing about the node any more.
func (n *node) hides(k int32) bool { return n.leaf > k || n.removed > k }

// hidesIn reports whether layer k can say nothing about what is in the node.
func (n *node) hidesIn(k int32) bool { return n.leaf > k || n.removed > k || n.emptied > k }

func (n *node) kid(base string) *node {
	k := n.kids[base]
	if k == nil {
		k = &node{}
		if n.kids == nil {
			n.kids = map[string]*node{}
		}
		n.kids[base] = k
	}
	return k
}

// find returns the node of a name, nil where there is none.
func (n *node) find(name string) *node {
	if name == "." {
		return n
	}
	for n != nil && name != "" {
		var base string
		base, name = cut(name)
		n = n.kids[base]
	}
	return n
}

// cut returns the first component and the others.
func cut(name string) (first, rest string) {
	for i := range len(name) {
		if name[i] == '/' {
			return name[:i], name[i+1:]
		}
	}
	return name, ""
}

// at returns the node of a name for layer k, making those that are missing, which is
// no folder yet and on no disk. It returns nil when layers above hide it.
func (d *deployer) at(l *layerState, name string) (*node, error) {
	if name == "." {
		return d.root, nil
	}
	parent, base := split(name)
	p := l.parent
	if l.parentName != parent || p == nil {
		p = d.root
		for rest := parent; rest != "" && rest != "."; {
			if p.hidesIn(l.k) {
				return nil, nil
			}
			var c string
			c, rest = cut(rest)
			if p.kids[c] == nil { // a folder that may have no entry of its own
				if d.entries++; d.entries > d.limits.Entries {
					return nil, &layer.LimitError{What: "entries and folders in the image", Limit: d.limits.Entries}
				}
			}
			p = p.kid(c)
			if p.kind == leaf && p.leaf == l.k {
				return nil, errNotDir
			}
		}
		l.parent, l.parentName = p, parent
	}
	if p.kind == leaf && p.leaf == l.k {
		return nil, errNotDir
	}
	if p.hidesIn(l.k) {
		return nil, nil
	}
	n := p.kid(base)
	if n.hides(l.k) {
		return nil, nil
	}
	return n, nil
}

// makeParents makes the folders that name lies in.
func (d *deployer) makeParents(k int32, name string) error {
	parent, _ := split(name)
	if parent == "." {
		return nil
	}
	n := d.root.find(parent)
	if n.made && n.kind == dir {
		return nil
	}
	return d.makeDir(k, parent, n)
}

// imply makes the folders that a path lies in which itself is hidden or excluded: that
// the layer has the path says that it has the folders.
func (d *deployer) imply(l *layerState, name string) error {
	parent, _ := split(name)
	if parent == l.implied || parent == "." {
		return nil
	}
	l.implied = parent
	n, at := d.root, "."
	for rest := parent; rest != ""; {
		var c string
		c, rest = cut(rest)
		if n.hidesIn(l.k) {
			break
		}
		kid, next := n.kid(c), join(at, c)
		if kid.hides(l.k) || kid.kind == leaf || d.exclude.covers(next) {
			break
		}
		n, at = kid, next
	}
	if at == "." {
		return nil
	}
	return d.makeDir(l.k, at, n)
}

// makeDir makes a folder, and those that it lies in.
func (d *deployer) makeDir(k int32, name string, n *node) error {
	if n.kind == leaf && n.leaf > k {
		panic("deploy: a hidden directory is made: " + name)
	}
	if n.kind != dir {
		n.kind, n.top, n.group = dir, k, nil
	}
	if n.made {
		return nil
	}
	if err := d.makeParents(k, name); err != nil {
		return err
	}
	there, err := d.tree.Mkdir(name)
	n.made, n.there = err == nil, there
	return err
}

// drop removes what layer k has made at and below a folder: later it has something
// else there. What the layers above have stays. It reports whether the node is gone.
func (d *deployer) drop(k int32, name string, n *node) error {
	if n.top == k || n.kind == leaf {
		if n.made && !n.there {
			if err := d.tree.Remove(name); err != nil {
				return err
			}
		}
		if n.there {
			return tree.ErrIsDir
		}
		n.forget(k)
		return nil
	}
	if n.said == k {
		n.meta, n.said = nil, 0
	}
	for base, c := range n.kids {
		if c.kind == dir || c.kind == leaf && c.leaf == k {
			if err := d.drop(k, join(name, base), c); err != nil {
				return err
			}
		}
	}
	return nil
}

// forget takes back what layer k has said of the node and of all below it, the hard links that are yet to
// be made too. What layers above have removed stays removed.
func (n *node) forget(k int32) {
	*n = node{kids: n.kids, leaf: n.leaf, removed: n.removed, emptied: n.emptied}
	if n.leaf == k {
		n.leaf = 0
	}
	for _, c := range n.kids {
		c.forget(k)
	}
}

// finish gives the folders their metadata, the deepest first.
func (d *deployer) finish(n *node, name string) error {
	for _, base := range slices.Sorted(maps.Keys(n.kids)) {
		if c := n.kids[base]; c.kind == dir && c.made {
			if err := d.finish(c, join(name, base)); err != nil {
				return err
			}
		}
	}
	switch {
	case n.meta != nil:
		if err := d.tree.SetDir(name, *n.meta, n.there); err != nil {
			return d.in(int(n.said), err)
		}
		return nil
	case n.there:
		return nil // it was there before, and no layer has it
	default:
		m, err := d.implied()
		if err != nil {
			return fmt.Errorf("%q, which no layer has: %w", name, err)
		}
		return d.tree.SetDir(name, m, false)
	}
}
