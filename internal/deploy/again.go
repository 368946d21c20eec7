package deploy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"osbuild-containers/internal/layer"
)

// again runs the second pass, over the layers with postponed files.
func (d *deployer) again(ctx context.Context) error {
	for _, k := range slices.Sorted(maps.Keys(d.late)) {
		if err := d.rest(ctx, int(k), d.late[k]); err != nil {
			return d.in(int(k), err)
		}
	}
	return nil
}

// rest writes the postponed files of layer k.
func (d *deployer) rest(ctx context.Context, k int, files map[int32]*inode) error {
	maps.DeleteFunc(files, func(_ int32, f *inode) bool { return d.waiting(f) == nil })
	if len(files) == 0 {
		return nil
	}
	s := layer.Start(ctx, d.layers[k-1], layer.NewBudget(0), layer.NewTally(d.limits))
	defer s.Close()
	entries := s.Entries()
	left := len(files)
	for { // to the end, so that the digests are verified
		e, err := entries.Next()
		if err == io.EOF && left > 0 {
			return errors.New("the layer has changed since it was first read")
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		f := files[int32(e.Index)]
		if f == nil {
			continue
		}
		left--
		if err := d.writeLate(f, e, entries); err != nil {
			return err
		}
		if err := d.stepsLeft(); err != nil {
			return err
		}
	}
}

// writeLate writes a postponed file under all of its names.
func (d *deployer) writeLate(f *inode, e *layer.Entry, content io.Reader) error {
	first := d.waiting(f)
	name := d.path(first)
	m, err := d.meta(e)
	if err != nil {
		return fmt.Errorf("%q: %w", name, err)
	}
	if err := d.makeWay(first, leaf); err != nil {
		return err
	}
	if err := d.write(name, e, m, content); err != nil {
		return err
	}
	first.v.made = true
	if f.meta != nil {
		if err := d.dest.SetMeta(name, *f.meta, f.symlink); err != nil {
			return err
		}
	}
	for _, n := range f.names {
		d.steps++
		if n.v.file != f || n.v.made {
			continue
		}
		if err := d.makeWay(n, leaf); err != nil {
			return err
		}
		n.v.made = true
		if err := d.dest.Link(d.path(n), name); err != nil {
			return err
		}
	}
	return nil
}
