package deploy

import (
	"fmt"
	"io"
	"strings"

	"golang.org/x/sys/unix"

	"osbuild-containers/internal/layer"
	"osbuild-containers/internal/tree"
)

// entry merges one entry of the layer.
func (d *deployer) entry(l *layerState, e *layer.Entry, content io.Reader) error {
	o, what, err := d.classify(l, e)
	if err != nil {
		return fmt.Errorf("%q: %w", e.Name, err)
	}
	switch {
	case what == aufsMetadata:
		if e.Type == layer.File { // aufs keeps files with several hard links in there
			o.v.kind, o.v.index, o.v.file = leaf, int32(e.Index), nil
		}
		return nil
	case what != plain:
		return d.hide(l, o, what)
	}
	white, err := d.isOverlayWhiteout(l, e)
	if err != nil {
		return err
	}
	if white {
		return d.overlayWhiteout(l, o)
	}
	return d.place(l, e, o, content)
}

// classify splits the name of an entry into its marker and the path that the marker applies to.
func (d *deployer) classify(l *layerState, e *layer.Entry) (*layerPath, marker, error) {
	what, name, err := parse(clean(e.Name))
	if err != nil {
		return nil, plain, err
	}
	o, err := d.resolve(l, name)
	return o, what, err
}

// isOverlayWhiteout reports whether the entry is an overlay whiteout: a character device 0:0, or a
// hard link to one.
func (d *deployer) isOverlayWhiteout(l *layerState, e *layer.Entry) (bool, error) {
	switch e.Type {
	case layer.Char:
		return e.Major == 0 && e.Minor == 0, nil
	case layer.Hardlink:
		target, err := d.resolve(l, clean(e.Link))
		if err != nil {
			return false, fmt.Errorf("%q: hard link: %w", e.Name, err)
		}
		return target.v.overlayWhiteout, nil
	default:
		return false, nil
	}
}

// overlayWhiteout applies an overlay whiteout, which has the name of the path that it hides.
func (d *deployer) overlayWhiteout(l *layerState, o *layerPath) error {
	if err := d.undo(l, o, false); err != nil {
		return err
	}
	if err := d.hide(l, o, whiteout); err != nil {
		return err
	}
	o.v.overlayWhiteout = true
	return nil
}

// hide applies a whiteout or the marker of an opaque directory. A whiteout does not create its
// parent directory.
func (d *deployer) hide(l *layerState, o *layerPath, what marker) error {
	o.v.whiteout = o.v.whiteout || what == whiteout
	o.v.opaque = o.v.opaque || what == opaque
	if d.inLeaf(l, l.own.parent(o)) || what == opaque && (o.v.kind == leaf || o.v.overlayWhiteout) {
		return nil // without a directory, there is nothing to hide
	}
	n, err := d.at(l, o)
	if err != nil {
		return err
	}
	if what == whiteout {
		if n != nil {
			n.v.whiteout = l.k
		}
		return nil
	}
	if err := d.enterDir(l, o); err != nil {
		return err
	}
	if n != nil {
		n.v.opaque = max(n.v.opaque, l.k)
	}
	if n == nil || d.excluded(l, o) {
		return d.imply(l, o)
	}
	return d.makeDir(l.k, n)
}

// place merges an entry that is neither a whiteout nor a marker.
func (d *deployer) place(l *layerState, e *layer.Entry, o *layerPath, content io.Reader) error {
	o.v.overlayWhiteout = false
	if err := d.enter(l, o); err != nil {
		return fmt.Errorf("%q: %w", e.Name, err)
	}
	n, err := d.at(l, o)
	if err != nil {
		return fmt.Errorf("%q: %w", e.Name, err)
	}
	if excluded := d.excluded(l, o); n == nil || excluded {
		if err := d.imply(l, o); err != nil {
			return err
		}
	}
	if e.Type == layer.Dir {
		return d.dir(l, e, o, n)
	}
	return d.leaf(l, e, o, n, content)
}

// dir merges a directory; n is nil when layers above hide it.
func (d *deployer) dir(l *layerState, e *layer.Entry, o *layerPath, n *treePath) error {
	if o.v.kind == leaf {
		if err := d.undo(l, o, false); err != nil {
			return err
		}
	}
	if err := d.enterDir(l, o); err != nil {
		return err
	}
	isOpaque := e.Xattrs[overlayOpaque] == "y"
	o.v.opaque = o.v.opaque || isOpaque
	if n == nil {
		return nil
	}
	if isOpaque {
		n.v.opaque = max(n.v.opaque, l.k)
	}
	if n.v.metaLayer == 0 || n.v.metaLayer == l.k {
		m, err := d.meta(e)
		if err != nil {
			return fmt.Errorf("%q: %w", d.path(n), err)
		}
		if err := d.remember(nil, metaBytes(&m)-metaBytes(n.v.meta)); err != nil {
			return err
		}
		n.v.meta, n.v.metaLayer = &m, l.k
	}
	if n.id == 0 || d.excluded(l, o) {
		return nil // created later, if a file below it is not excluded
	}
	return d.makeDir(l.k, n)
}

// enterDir records that the layer has a directory at a path.
func (d *deployer) enterDir(l *layerState, o *layerPath) error {
	if o.v.kind == dir {
		return nil
	}
	if err := d.enter(l, o); err != nil {
		return err
	}
	o.v.kind, o.v.file = dir, nil
	return nil
}

// leaf merges an entry that is not a directory.
func (d *deployer) leaf(l *layerState, e *layer.Entry, o *layerPath, n *treePath, content io.Reader) error {
	if o.id == 0 {
		return fmt.Errorf("%q: the root must be a directory", e.Name)
	}
	if e.Type == layer.Hardlink {
		return d.hardlink(l, e, o, n)
	}
	n, err := d.replace(l, o, n)
	if err != nil {
		return err
	}
	o.v.kind, o.v.index, o.v.file = leaf, int32(e.Index), nil
	if e.Type == layer.Symlink {
		if e.Link == "" {
			return fmt.Errorf("%q: symbolic link without a target", e.Name)
		}
		if err := d.setSymlink(l, o, &layerLink{target: strings.Clone(e.Link)}); err != nil {
			return err
		}
	}
	if n == nil {
		return nil
	}
	if err := d.makeParents(l.k, n); err != nil {
		return err
	}
	if err := d.makeWay(n, leaf); err != nil {
		return err
	}
	n.v.kind, n.v.leaf, n.v.made = leaf, l.k, true
	m, err := d.meta(e)
	if err != nil {
		return fmt.Errorf("%q: %w", d.path(n), err)
	}
	return d.write(d.path(n), e, m, content)
}

// replace clears a path for a leaf of the layer. It returns the path in the tree at which to write
// the leaf, nil if it is not to be written.
func (d *deployer) replace(l *layerState, o *layerPath, n *treePath) (*treePath, error) {
	if o.v.kind != nothing {
		if err := d.undo(l, o, false); err != nil {
			return nil, err
		}
		l.own.list(o)
	}
	if n == nil {
		return nil, nil
	}
	if n.v.kind == dir || d.excluded(l, o) { // inside a directory of the layers above
		n.v.leaf = l.k
		return nil, nil
	}
	return n, nil
}

// write creates the file that an entry describes. It handles neither directories nor hard links.
func (d *deployer) write(name string, e *layer.Entry, m tree.Meta, content io.Reader) error {
	switch e.Type {
	case layer.Symlink:
		return d.dest.Symlink(name, e.Link, m)
	case layer.Char, layer.Block:
		kind := uint32(unix.S_IFCHR)
		if e.Type == layer.Block {
			kind = unix.S_IFBLK
		}
		if e.Major < 0 || e.Minor < 0 || e.Major >= 1<<12 || e.Minor >= 1<<20 {
			return fmt.Errorf("%q: invalid device number %d:%d", name, e.Major, e.Minor)
		}
		return d.dest.Mknod(name, kind, uint32(e.Major), uint32(e.Minor), m)
	case layer.Fifo:
		return d.dest.Mknod(name, unix.S_IFIFO, 0, 0, m)
	default:
		return d.file(name, e, m, content)
	}
}

// file writes a regular file, or moves one that was written to the scratch directory.
func (d *deployer) file(name string, e *layer.Entry, m tree.Meta, content io.Reader) error {
	if r, ok := content.(*reader); ok && d.tree != nil {
		if moved, err := r.moveTo(d.tree, name); moved || err != nil {
			return err
		}
	}
	f, err := d.dest.Create(name, e.Size, e.Sparse, m)
	if err != nil {
		return err
	}
	if unread, err := fill(f, content, d.buf, d.pause); err != nil {
		f.Abort()
		if unread {
			err = fmt.Errorf("%q: %w", name, err)
		}
		return err
	}
	return f.Close()
}

// fill writes the content of a file. unread reports whether the error came from reading it.
func fill(f io.Writer, content io.Reader, buf []byte, pause func(int)) (unread bool, err error) {
	piece := func() ([]byte, error) {
		n, err := content.Read(buf)
		return buf[:n], err
	}
	if p, ok := content.(interface {
		Piece(buf []byte) ([]byte, error)
	}); ok {
		piece = func() ([]byte, error) { return p.Piece(buf) }
	}
	for {
		b, err := piece()
		pause(len(b))
		if len(b) > 0 {
			if _, err := f.Write(b); err != nil {
				return false, err
			}
		}
		if err == io.EOF {
			return false, nil
		}
		if err != nil {
			return true, err
		}
	}
}
