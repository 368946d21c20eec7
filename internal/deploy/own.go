package deploy

import (
	"errors"
	"fmt"
	"strings"
	"unsafe"

	"osbuild-containers/internal/layer"
)

// layerState is the layer being read: a tree of its own, most of which may be hidden. It is
// discarded when the layer ends.
type layerState struct {
	k     int32
	own   *trie[layered]
	gen   uint32 // incremented when the target of a symbolic link may have changed
	wants []want // hard links to files of the layers below
	bytes int64  // of memory, counted in the ledger

	// The parent directory of the last entry: its name in the archive and its path.
	parentName string
	parentGen  uint32
	parent     *layerPath

	implied *layerPath // the last argument of imply
}

func newLayer(k int) *layerState {
	l := &layerState{k: int32(k), own: newTrie[layered]()}
	l.own.root().v.kind = dir
	return l
}

// layerPath is a path of the layer. The list of its children holds the current files and
// directories of the layer, and maybe former ones.
type layerPath = node[layered]

// layered is the content of the layer at a path.
type layered struct {
	node    *treePath // the path in the tree; nil: hidden by layers above, or not looked up yet
	file    *inode    // the target of the path, a hard link, or of hard links to it
	symlink *layerLink
	index   int32 // the entry with the content of a leaf
	rule    int32 // see excluder
	kind    kind
	asked   bool // node was looked up
	through bool // paths lead through it, and it was not a symbolic link

	// Markers that hide it in the layers below.
	whiteout, overlayWhiteout, opaque bool
}

// layerLink is a symbolic link of the layer, with its resolved target.
type layerLink struct {
	target string
	to     *layerPath // valid while gen equals that of the layer
	gen    uint32
	links  int32 // how many symbolic links were followed
}

// child returns the path of base in p. isNew reports that the layer had not named it before.
func (d *deployer) child(l *layerState, p *layerPath, base string) (o *layerPath, isNew bool, err error) {
	d.steps++
	if o := l.own.child(p, base); o != nil {
		return o, false, nil
	}
	if int(p.length)+1+len(base) > maxName {
		return nil, false, fmt.Errorf("%.100q leads to a long path: %w", l.own.path(p), &layer.LimitError{What: "bytes in a name", Limit: maxName})
	}
	if int(p.depth) >= d.limits.Depth {
		return nil, false, tooDeep(l.own.path(p), d.limits.Depth)
	}
	if err := d.remember(l, l.own.cost()+int64(len(base))); err != nil {
		return nil, false, err
	}
	return l.own.add(p, base), true, nil
}

// walk resolves a path relative to a directory, as under chroot: ".." stops at the root. It follows
// symbolic links of the layer, in the last component too.
func (d *deployer) walk(l *layerState, at *layerPath, path string, links *int32) (*layerPath, error) {
	for path != "" {
		var c string
		c, path = cut(path)
		d.steps++
		switch c {
		case "", ".":
			continue
		case "..":
			at = l.own.parent(at)
			continue
		}
		next, isNew, err := d.child(l, at, c)
		if err == nil && isNew { // a directory that may have no entry of its own
			err = d.count()
		}
		if err != nil {
			return nil, err
		}
		if next.v.symlink == nil {
			next.v.through = true
			at = next
			continue
		}
		if at, err = d.follow(l, next, links); err != nil {
			return nil, err
		}
	}
	return at, nil
}

// follow resolves a symbolic link. It caches the result, so the next path through the link costs
// one step.
func (d *deployer) follow(l *layerState, o *layerPath, links *int32) (*layerPath, error) {
	s := o.v.symlink
	if s.to == nil || s.gen != l.gen {
		if *links++; *links > maxLinks {
			return nil, errTooManyLinks
		}
		before, at := *links, l.own.parent(o)
		if strings.HasPrefix(s.target, "/") {
			at = l.own.root()
		}
		to, err := d.walk(l, at, s.target, links)
		if err != nil {
			return nil, err
		}
		s.to, s.gen, s.links = to, l.gen, *links-before+1
		return to, nil
	}
	if *links += s.links; *links > maxLinks {
		return nil, errTooManyLinks
	}
	return s.to, nil
}

// resolve returns the path for a clean name of the layer. Symbolic links of the layer are followed
// in all components but the last.
func (d *deployer) resolve(l *layerState, name string) (*layerPath, error) {
	if name == "." {
		return l.own.root(), nil
	}
	parent, base := split(name)
	if l.parent == nil || parent != l.parentName || l.parentGen != l.gen {
		links := int32(0)
		at, err := d.walk(l, l.own.root(), parent, &links)
		if errors.Is(err, errTooManyLinks) {
			err = fmt.Errorf("%q %w", parent, err)
		}
		if err != nil {
			return nil, err
		}
		l.parent, l.parentName, l.parentGen = at, parent, l.gen
	}
	o, _, err := d.child(l, l.parent, base)
	return o, err
}

// setSymlink records that the path is a symbolic link or, if s is nil, that it is not.
func (d *deployer) setSymlink(l *layerState, o *layerPath, s *layerLink) error {
	if o.v.symlink != nil || s != nil && o.v.through {
		l.gen++
	}
	o.v.symlink, o.v.through = s, false
	if s == nil {
		return nil
	}
	return d.remember(l, int64(unsafe.Sizeof(*s))+int64(len(s.target)))
}

// enter records the parent directories of a path of the layer.
func (d *deployer) enter(l *layerState, o *layerPath) error {
	for o.id != 0 {
		l.own.list(o)
		o = l.own.parent(o)
		d.steps++
		switch o.v.kind {
		case dir:
			return nil
		case leaf:
			return errNotDir
		}
		o.v.kind = dir
	}
	return nil
}

// inLeaf reports whether the path is at or below a path that is not a directory in the layer.
func (d *deployer) inLeaf(l *layerState, o *layerPath) bool {
	for o.v.kind != dir {
		o = l.own.parent(o)
		d.steps++
		if o.v.kind == leaf {
			return true
		}
	}
	return false
}

// undo removes what the layer contributed at and below a path, from the tree too, because a later
// entry of the archive replaces it. Other layers' files and whiteouts stay. gone means that it was
// already removed from disk.
func (d *deployer) undo(l *layerState, o *layerPath, gone bool) error {
	d.steps++
	if n := o.v.node; n != nil {
		taken, err := d.takeBack(l.k, n, gone)
		if err != nil {
			return err
		}
		gone = gone || taken
	}
	if o.v.symlink != nil {
		if err := d.setSymlink(l, o, nil); err != nil {
			return err
		}
	}
	o.v.kind, o.v.file, o.v.overlayWhiteout = nothing, nil, false
	l.implied = nil
	return l.own.unlist(o, func(c *layerPath) error { return d.undo(l, c, gone) })
}
