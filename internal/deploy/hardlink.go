package deploy

import (
	"context"
	"fmt"
	"unsafe"

	"osbuild-containers/internal/layer"
	"osbuild-containers/internal/tree"
)

// An inode is a file that a layer has hard links to. Files with a single name, which are most, have
// none.
//
// Its content may be on disk already, under all of its names. If the content was skipped because
// its first name was hidden or excluded, the other names wait for a second pass over the layer.
// That is rare: archives use the first name of a file as the target of all its links, so the first
// name must have been replaced and others not. The content may also be in a layer below, which
// overlayfs never produces but the image specification allows; then the names wait for that layer.
type inode struct {
	names   []*treePath // names that have another inode by now do not count
	meta    *tree.Meta  // from the headers of its hard links, combined
	above   []*inode    // hard links of layers above to this file, the lowest layer first
	layer   int32
	index   int32  // the entry with the content
	symlink bool   // the file is a symbolic link
	target  string // of a Stack: its name in the layers below
	below   bool   // the content is in a layer below
}

const (
	inodeBytes = int64(unsafe.Sizeof(inode{})) + 64 // including meta
	linkBytes  = 16                                 // of a slice that grows by doubling
)

// hardlink merges a hard link. n is nil when the layers above hide it.
func (d *deployer) hardlink(l *layerState, e *layer.Entry, o *layerPath, n *treePath) error {
	var err error
	if o.v.kind == dir {
		if n, err = d.replace(l, o, n); err != nil {
			return err
		}
	}
	if err := d.setSymlink(l, o, nil); err != nil {
		return err
	}
	t, err := d.resolve(l, clean(e.Link))
	if err != nil {
		return fmt.Errorf("%q: hard link: %w", e.Name, err)
	}
	if t == o {
		return fmt.Errorf("%q: a hard link to itself", e.Name)
	}
	f, err := d.inode(l, t)
	if err != nil {
		return fmt.Errorf("%q: %w", e.Name, err)
	}
	m, err := d.meta(e)
	if err != nil {
		return fmt.Errorf("%q: %w", e.Name, err)
	}
	if o.v.kind != leaf || o.v.file != f { // it may be another name of the same file
		if n, err = d.replace(l, o, n); err != nil {
			return err
		}
		o.v.kind, o.v.index, o.v.file = leaf, f.index, f
		if err := d.addName(l.k, f, n); err != nil {
			return err
		}
	}
	if s := t.v.symlink; s != nil {
		if err := d.setSymlink(l, o, &layerLink{target: s.target}); err != nil {
			return err
		}
	}
	return d.applyTo(f, &m)
}

// addName makes n, unless it is nil, a name of a file, at once or when its content is read.
func (d *deployer) addName(k int32, f *inode, n *treePath) error {
	if n == nil {
		return nil
	}
	if err := d.makeParents(k, n); err != nil {
		return err
	}
	n.v.kind, n.v.leaf = leaf, k
	return d.join(f, n)
}

// join makes n a name of a file.
func (d *deployer) join(f *inode, n *treePath) error {
	if err := d.remember(nil, linkBytes); err != nil {
		return err
	}
	old, err := d.oldName(f)
	if err != nil {
		return fmt.Errorf("%q: %w", d.path(n), err)
	}
	if old != "" {
		if err := d.makeWay(n, leaf); err != nil {
			return err
		}
	}
	n.v.file, n.v.made = f, old != ""
	f.names = append(f.names, n)
	switch {
	case old != "":
		return d.dest.Link(d.path(n), old)
	case !f.below:
		d.later(f)
	}
	return nil
}

// oldName returns a name to which hard links of the file can be made now, "" if there is none.
func (d *deployer) oldName(f *inode) (string, error) {
	if n := d.onDisk(f); n != nil {
		return d.path(n), nil
	}
	if !f.below || d.stack == nil {
		return "", nil
	}
	// Nothing of the layers below was removed so far, unless something took its place.
	if n := d.paths.find(f.target); n != nil && n.v.made {
		return "", tooFewPasses(fmt.Errorf("hard link to %q of a layer below, which its layer %d replaces", f.target, f.layer))
	}
	exists, isDir, err := d.stack.Exists(f.target)
	if err == nil && (!exists || isDir) {
		err = fmt.Errorf("hard link to %q, which neither its layer %d nor those below have", f.target, f.layer)
		if d.exclude.excludes(f.target) {
			err = tooFewPasses(err)
		}
	}
	_, f.symlink = d.dest.Readlink(f.target)
	return f.target, err
}

// onDisk returns a name under which the file is on disk, nil if there is none.
func (d *deployer) onDisk(f *inode) *treePath {
	for len(f.names) > 0 {
		d.steps++
		n := f.names[len(f.names)-1]
		if n.v.file == f {
			if n.v.made {
				return n
			}
			return nil
		}
		f.names = f.names[:len(f.names)-1]
	}
	return nil
}

// applyTo applies the metadata in the header of another name to a file. As in podman, the last
// header decides.
func (d *deployer) applyTo(f *inode, m *tree.Meta) error {
	if err := d.remember(nil, f.overlay(m)); err != nil {
		return err
	}
	n := d.onDisk(f)
	if n == nil {
		return nil
	}
	return d.dest.SetMeta(d.path(n), *m, f.symlink)
}

// overlay adds m to the metadata of the file's other names: it keeps an attribute that m lacks, and
// capabilities unless the owner changes. It returns how many bytes of memory that adds, in time
// proportional to m, since a file may have many headers.
func (f *inode) overlay(m *tree.Meta) (bytes int64) {
	if f.meta == nil || len(f.meta.Xattrs) == 0 {
		bytes = metaBytes(m) - metaBytes(f.meta)
		f.meta = m
		return bytes
	}
	all := f.meta.Xattrs
	if f.meta.UID != m.UID || f.meta.GID != m.GID {
		delete(all, capability)
	}
	for name, value := range m.Xattrs {
		bytes += attributeBytes(name, value)
		if old, ok := all[name]; ok {
			bytes -= attributeBytes(name, old)
		}
		all[name] = value
	}
	f.meta = &tree.Meta{UID: m.UID, GID: m.GID, Mode: m.Mode, ModTime: m.ModTime, Xattrs: all}
	return bytes
}

// later postpones a file until its content is read again.
func (d *deployer) later(f *inode) {
	if d.late[f.layer] == nil {
		d.late[f.layer] = map[int32]*inode{}
	}
	d.late[f.layer][f.index] = f
}

// inode returns the file at a path of the layer, or one that is expected in a layer below.
func (d *deployer) inode(l *layerState, t *layerPath) (*inode, error) {
	switch {
	case t.v.kind == dir:
		return nil, fmt.Errorf("hard link to %q, which is a directory", l.own.path(t))
	case t.v.file != nil:
		return t.v.file, nil
	case d.inLeaf(l, l.own.parent(t)):
		return nil, fmt.Errorf("hard link to %q: %w", l.own.path(t), errNotDir)
	}
	if err := d.remember(nil, inodeBytes+linkBytes); err != nil {
		return nil, err
	}
	f := &inode{layer: l.k, index: t.v.index, symlink: t.v.symlink != nil, below: t.v.kind == nothing}
	t.v.file = f
	if f.below {
		if d.stack != nil {
			f.target = l.own.path(t)
			return f, nil
		}
		l.wants = append(l.wants, want{f, t})
		return f, nil
	}
	if n := t.v.node; n != nil && n.v.kind == leaf && n.v.leaf == l.k && n.v.made {
		n.v.file = f
		f.names = append(f.names, n)
	}
	return f, nil
}

// want is a file whose hard links are in this layer and whose content is not.
type want struct {
	file   *inode
	target *layerPath
}

// wantedPath is the target of a hard link of the layers above, or a parent directory of one.
type wantedPath = node[wanted]

type wanted struct {
	files []*inode // links of higher layers first
}

// resolveLinks creates the hard links of the layers above whose targets are in this layer. It takes
// a step for each path of the layer and not for each link: there may be many links, and many
// layers.
func (d *deployer) resolveLinks(ctx context.Context, l *layerState) error {
	if d.wanted.count > 1 {
		at := d.wantedOf(l)
		for id, w := range at {
			if w == 0 {
				continue
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if err := d.settle(l, l.own.at(uint32(id)), d.wanted.at(w-1)); err != nil {
				return err
			}
			if err := d.stepsLeft(); err != nil {
				return err
			}
		}
		for id, w := range at {
			if w == 0 {
				continue
			}
			if err := d.block(&l.own.at(uint32(id)).v, d.wanted.at(w-1)); err != nil {
				return err
			}
		}
	}
	for _, w := range l.wants {
		if err := d.want(l, w); err != nil {
			return err
		}
	}
	if l.k == 1 {
		return d.missing(d.wanted.root())
	}
	return nil
}

// wantedOf maps the paths of the layer to wanted paths of the same name, by number, counted from 1;
// 0 means that a path is not wanted.
func (d *deployer) wantedOf(l *layerState) []uint32 {
	at := make([]uint32, l.own.count)
	at[0] = 1
	for id := uint32(1); id < l.own.count; id++ {
		d.steps++
		o := l.own.at(id)
		if p := at[o.parent]; p != 0 {
			if w := d.wanted.child(d.wanted.at(p-1), o.name); w != nil {
				at[id] = w.id + 1
			}
		}
	}
	return at
}

// settle creates the hard links to a path of this layer, if that is a file.
func (d *deployer) settle(l *layerState, o *layerPath, w *wantedPath) error {
	if o.v.kind != leaf || len(w.v.files) == 0 {
		return nil
	}
	f, err := d.inode(l, o)
	if err != nil {
		return err
	}
	for i := len(w.v.files) - 1; i >= 0; i-- {
		if err := d.merge(f, w.v.files[i]); err != nil {
			return err
		}
	}
	w.v.files = nil
	return nil
}

// merge adds the names of a file of a layer above to f.
func (d *deployer) merge(f, upper *inode) error {
	if f.below { // the file is in a layer further below
		f.above = append(f.above, upper)
		return d.remember(nil, linkBytes)
	}
	d.steps++
	for _, n := range upper.names {
		d.steps++
		if n.v.file != upper {
			continue
		}
		if err := d.join(f, n); err != nil {
			return err
		}
	}
	upper.names = nil
	if upper.meta != nil {
		if err := d.applyTo(f, upper.meta); err != nil {
			return err
		}
	}
	for _, a := range upper.above {
		if err := d.merge(f, a); err != nil {
			return err
		}
	}
	return nil
}

// block ends the search for hard link targets that this layer hides.
func (d *deployer) block(o *layered, w *wantedPath) error {
	if o.whiteout || o.kind == dir {
		if err := d.notThere(w); err != nil {
			return err
		}
	}
	if o.whiteout || o.opaque || o.kind == leaf {
		return d.wanted.unlist(w, d.missing)
	}
	return nil
}

// missing ends the search for a path, and for the paths below it, that hard links name as target.
func (d *deployer) missing(w *wantedPath) error {
	if err := d.notThere(w); err != nil {
		return err
	}
	return d.wanted.unlist(w, d.missing)
}

func (d *deployer) notThere(w *wantedPath) error {
	for _, f := range w.v.files {
		if n := d.waiting(f); n != nil { // otherwise the links themselves are hidden
			return fmt.Errorf("%q: hard link to %q, which neither its layer %d nor those below have",
				d.path(n), d.wanted.path(w), f.layer)
		}
	}
	w.v.files = nil
	return nil
}

// waiting returns a name that is not written yet, nil if there is none.
func (d *deployer) waiting(f *inode) *treePath {
	d.steps++
	for _, n := range f.names {
		d.steps++
		if n.v.file == f {
			return n
		}
	}
	for _, a := range f.above {
		if n := d.waiting(a); n != nil {
			return n
		}
	}
	return nil
}

// want records that the target of a hard link must be in a layer below.
func (d *deployer) want(l *layerState, want want) error {
	w := d.wanted.root()
	for name := l.own.path(want.target); name != ""; {
		var base string
		base, name = cut(name)
		d.steps++
		next := d.wanted.child(w, base)
		if next == nil {
			if err := d.remember(nil, d.wanted.cost()+int64(len(base))); err != nil {
				return err
			}
			next = d.wanted.add(w, base)
		}
		d.wanted.list(next)
		w = next
	}
	w.v.files = append(w.v.files, want.file)
	return nil
}
