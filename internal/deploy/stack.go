package deploy

import (
	"context"
	"errors"
	"fmt"

	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/progress"
)

// A Stack is a Destination that layers are put onto one after the other, from the lowest up,
// so that it is for a moment what each layer makes of those below it.
//
// SetDir ends each layer: other calls follow for the next one. There, wasThere means that the
// directory is one of the layers below, of whose metadata nothing stays.
type Stack interface {
	Destination

	// Exists reports whether there is something of that name, and whether it is a directory. Nothing is there
	// where the name runs through what is not a directory.
	Exists(name string) (exists, isDir bool, err error)

	// List returns the names of what is in a directory, in any order.
	List(name string) ([]string, error)
}

// Each deploys the layers into a stack that is empty. It calls done with the number of
// each layer, counted from 1, when the stack has it.
//
// The result is that of To, or an error where that would take more than one pass:
// a layer has a path twice, as a directory and as something else, and a layer below has a directory there; or a
// hard link is to a file of a layer below that is excluded or that the layer of the link has replaced.
func Each(ctx context.Context, dest Stack, layers []Layer, opt Options, log *progress.Reporter, done func(k int) error) (err error) {
	d, err := newDeployer(dest, layers, opt, log)
	if err != nil {
		return err
	}
	d.stack = dest
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a := d.startAhead(ctx)
	defer func() { err = errors.Join(err, a.close()) }()
	for k := range layers {
		if err := d.onto(ctx, a, k+1); err != nil {
			return err
		}
		if err := done(k + 1); err != nil {
			return err
		}
	}
	d.warn()
	return nil
}

// onto deploys layer k onto those below.
func (d *deployer) onto(ctx context.Context, a *ahead, k int) error {
	d.paths, d.bytes = newTrie[merged](), 0
	d.paths.root().v = merged{kind: dir, made: true, there: k > 1}
	clear(d.late)
	l := newLayer(k)
	if err := d.layer(ctx, l, a.turn(k)); err != nil {
		return d.in(k, err)
	}
	a.done(k)
	if err := d.again(ctx); err != nil {
		return err
	}
	if err := d.hideBelow(l); err != nil {
		return d.in(k, err)
	}
	if err := d.excludeThroughLinks(); err != nil {
		return err
	}
	return d.finish(d.paths.root())
}

// tooFewPasses adds a hint to an error that only Each returns.
func tooFewPasses(err error) error {
	return hint.Add(err, "use %s: a single file system can have such a layer, a chain cannot", hint.Option("format: ext4"))
}

// makeWay removes what the layers below have at a path of which the layer makes something else.
func (d *deployer) makeWay(n *treePath, kind kind) error {
	if d.stack == nil || n.v.made || !d.paths.parent(n).v.there {
		return nil
	}
	name := d.path(n)
	if n.v.cleared && kind == dir {
		return tooFewPasses(fmt.Errorf("%q: the layer has it twice, as a directory and as something else, and a layer below has a directory", name))
	}
	exists, isDir, err := d.stack.Exists(name)
	if err != nil || !exists || isDir == (kind == dir) {
		return err
	}
	n.v.cleared = isDir
	return d.stack.Remove(name)
}

// hideBelow removes what whiteouts and opaque directories of the layer hide. That is done when the layer was
// read, since what it has itself stays, wherever that was in the archive.
func (d *deployer) hideBelow(l *layerState) error {
	for id := range l.own.count {
		o := l.own.at(id)
		d.steps++
		if !o.v.whiteout && !o.v.opaque {
			continue
		}
		n, err := d.at(l, o)
		if err != nil {
			return err
		}
		if n.v.made && n.v.kind == dir {
			err = d.clear(n)
		} else if o.v.whiteout && !n.v.made {
			err = d.removeBelow(d.path(n))
		}
		if err != nil {
			return err
		}
		if err := d.stepsLeft(); err != nil {
			return err
		}
	}
	return nil
}

// clear removes from a directory what the layer has not made.
func (d *deployer) clear(n *treePath) error {
	if !n.v.there {
		return nil
	}
	name := d.path(n)
	bases, err := d.stack.List(name)
	if err != nil {
		return err
	}
	for _, base := range bases {
		d.steps++
		c := d.paths.child(n, base)
		switch {
		case c == nil || !c.v.made:
			err = d.stack.Remove(join(name, base))
		case c.v.kind == dir:
			err = d.clear(c)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *deployer) removeBelow(name string) error {
	exists, _, err := d.stack.Exists(name)
	if err != nil || !exists {
		return err
	}
	return d.stack.Remove(name)
}
