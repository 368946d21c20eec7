package deploy

import (
	"context"
	"fmt"

	"osbuild-containers/internal/layer"
)

// origin is where the content of a path of one layer is.
type origin struct {
	layer int32
	index int       // the entry that has it
	path  string    // where it was written, if it was
	cross *crossing // or it is in a layer below
}

// group is content that was not written when it went by, because it was hidden or
// excluded, and to which there are hard links that are neither. It is written in a
// second pass over its layer. Archives name the first link of a file as the target of
// all others, so this is seldom: the first must have been replaced and others not.
type group struct {
	members []member
	cross   *crossing // that it is of, if it is of one
}

// member is one of the links.
type member struct {
	name string
	node *node
}

// crossing is a hard link to what a layer below has, as overlayfs never makes them but
// the image specification allows them.
type crossing struct {
	from   int32
	target string
	group  *group
	done   bool
}

// lose remembers what was not written, and note what was.
func (l *layerState) lose(name string, o origin) {
	l.lost[name] = o
	l.note(name, o)
}

func (l *layerState) note(name string, o origin) {
	if _, ok := l.wanted[name]; ok {
		l.wanted[name] = o
	}
}

// hardlink takes a hard link. n is nil when the layers above hide it.
func (d *deployer) hardlink(l *layerState, e *layer.Entry, name string, n *node, excluded bool) error {
	target, err := l.resolve(clean(e.Link))
	if err != nil {
		return fmt.Errorf("%q: hard link: %w", name, err)
	}
	if target == name {
		return fmt.Errorf("%q: a hard link to itself", name)
	}
	o, err := d.origin(l, target)
	if err != nil {
		return fmt.Errorf("%q: %w", name, err)
	}
	l.parent = nil // finding the target may have left it in a folder that is no more
	if to, ok := l.links.target(target); ok {
		l.links.add(name, to)
	}
	if n == nil || excluded {
		l.lose(name, o)
		return nil
	}
	if o.path == name {
		return nil // another name of what it is already
	}
	if err := d.makeParents(l.k, name); err != nil {
		return err
	}
	if n.made && n.kind == leaf {
		if err := d.tree.Remove(name); err != nil {
			return err
		}
	}
	*n = node{kids: n.kids, kind: leaf, leaf: l.k, removed: n.removed, emptied: n.emptied, index: int32(o.index)}
	if o.path == "" {
		l.note(name, o)
		d.later(o, member{name, n})
		return nil
	}
	n.made = true
	from := o.path
	o.path = name
	l.note(name, o)
	return d.tree.Link(name, from)
}

// later puts a hard link off until its content comes by.
func (d *deployer) later(o origin, m member) {
	g := &group{}
	if o.cross != nil {
		g = o.cross.group
	} else {
		k := int(o.layer)
		if d.late[k] == nil {
			d.late[k] = map[int]*group{}
		}
		if d.late[k][o.index] == nil {
			d.late[k][o.index] = g
		}
		g = d.late[k][o.index]
	}
	g.members = append(g.members, m)
	m.node.group = g
}

// origin finds what the layer has under a name, or expects a layer below to have it.
func (d *deployer) origin(l *layerState, target string) (origin, error) {
	if o, ok := l.lost[target]; ok {
		return d.live(o), nil
	}
	n, err := d.at(l, target)
	if err != nil {
		return origin{}, fmt.Errorf("hard link to %q: %w", target, err)
	}
	switch {
	case n == nil:
	case n.kind == dir && (n.top == l.k || n.said == l.k):
		return origin{}, fmt.Errorf("hard link to %q, which is a directory", target)
	case n.kind == leaf && n.leaf == l.k && n.made:
		return origin{layer: l.k, index: int(n.index), path: target}, nil
	case n.kind == leaf && n.leaf == l.k:
		if n.group != nil && n.group.cross != nil {
			return origin{layer: l.k, cross: n.group.cross}, nil
		}
		return origin{layer: l.k, index: int(n.index)}, nil
	}
	c := l.crossings[target]
	if c == nil {
		if len(d.cross) == maxCrossings {
			return origin{}, &layer.LimitError{What: "hard links to layers below", Limit: maxCrossings}
		}
		c = &crossing{from: l.k, target: target, group: &group{}}
		c.group.cross = c
		l.crossings[target] = c
		d.cross = append(d.cross, c)
	}
	return origin{layer: l.k, cross: c}, nil
}

// maxCrossings bounds what each layer is asked for.
const maxCrossings = 100_000

// live forgets where the content was written if something else is there by now.
func (d *deployer) live(o origin) origin {
	if o.path != "" {
		n := d.root.find(o.path)
		if n == nil || n.kind != leaf || !n.made || n.leaf != o.layer || int(n.index) != o.index {
			o.path = ""
		}
	}
	return o
}

// expect tells a layer what the layers above want of it.
func (d *deployer) expect(l *layerState) {
	for _, c := range d.cross {
		if c.from > l.k && !c.done {
			if l.wanted == nil {
				l.wanted = map[string]origin{}
			}
			l.wanted[c.target] = origin{}
		}
	}
}

// resolveCrossings makes the hard links of the layers above to what this layer turned
// out to have.
func (d *deployer) resolveCrossings(ctx context.Context, l *layerState) error {
	seen := map[string]bool{}
	for _, c := range d.cross {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if c.done || c.from == l.k && l.k > 1 {
			continue
		}
		o := l.wanted[c.target]
		switch {
		case c.from > l.k && o.cross != nil:
			// The layer itself has it from below: both want the same.
			o.cross.group.members = append(o.cross.group.members, c.group.members...)
			for _, m := range c.group.members {
				if m.node.group == c.group {
					m.node.group = o.cross.group
				}
			}
			c.done = true
		case c.from > l.k && o.layer != 0:
			if err := d.join(c, o); err != nil {
				return err
			}
		case l.k > 1 && !l.blocks(d, c.target, seen):
			// It may still come.
		case len(c.group.members) == 0:
			c.done = true // the link itself is hidden
		default:
			return fmt.Errorf("%s: hard link to %q, which neither its layer %d nor those below have there",
				c.group.names(), c.target, c.from)
		}
	}
	return nil
}

func (g *group) names() string {
	if len(g.members) == 0 {
		return "a hidden path"
	}
	return fmt.Sprintf("%q", g.members[0].name)
}

// join makes the links of a crossing to what was found.
func (d *deployer) join(c *crossing, o origin) error {
	c.done = true
	o = d.live(o)
	for _, m := range c.group.members {
		if m.node.group != c.group {
			continue // something else is there by now
		}
		if o.path == "" {
			d.later(o, m)
			continue
		}
		m.node.group, m.node.made = nil, true
		if err := d.tree.Link(m.name, o.path); err != nil {
			return err
		}
	}
	return nil
}

// blocks reports whether the layer hides a path from the layers above it. seen is what is known of folders.
func (l *layerState) blocks(d *deployer, target string, seen map[string]bool) bool {
	if l.gone[target] == removed {
		return true
	}
	parent, _ := split(target)
	hidden, known := seen[parent]
	if !known {
		hidden = l.blocksIn(d.root, parent)
		seen[parent] = hidden
	}
	return hidden
}

// blocksIn reports whether the layer hides all that is in a folder.
func (l *layerState) blocksIn(n *node, folder string) bool {
	for at, rest := ".", folder; ; {
		_, link := l.links.target(at)
		_, lost := l.lost[at]
		if l.gone[at] != plain || link || lost || n != nil && n.leaf == l.k {
			return true
		}
		if at == folder {
			return false
		}
		var c string
		c, rest = cut(rest)
		at = join(at, c)
		if n != nil {
			n = n.kids[c]
		}
	}
}
