// Package deploy applies the layers of an image to a tree, in one pass.
//
// Other ways do the work twice: they unpack every layer into a store, mount the union, copy it and
// remove unwanted files. Here the layers are merged from the top down, and an entry is written only
// if no layer above has replaced or removed it and no pattern excludes it. On several cores, layers
// are read ahead and their files are written to a scratch directory; see docs/design/deploy.md.
//
// Layers mean what overlayfs shows after podman has unpacked them: each layer is a tree of its own,
// in which its symbolic links are followed as under chroot, and the trees are stacked. A directory
// merges with a directory below; any other entry replaces the path below. docs/deploy.md lists the
// cases and the differences from podman.
//
// Guarantees: nothing outside the tree is touched (package tree enforces it); names that point
// outside are resolved as under chroot; every layer is verified; an error names the layer and the
// path; memory and work are bounded by the limits for any image. Not guaranteed: cleaning up after
// a failure, and durability. The caller discards a tree whose deployment failed, so nothing is
// synced.
package deploy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"osbuild-containers/internal/layer"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/tree"
	"osbuild-containers/internal/userns"
)

// Layer is a layer of the image. Layers are listed from the lowest up.
type Layer = layer.Blob

// Options select what is deployed and how. The zero value deploys the whole image unchanged.
type Options struct {
	// Exclude holds paths and patterns of files that are not written, see docs/deploy.md.
	Exclude []string
	// UIDs and GIDs map the owners in the image to those in the tree. An empty map changes nothing;
	// with a non-empty map, an owner outside its ranges is an error.
	UIDs, GIDs []IDRange
	// IgnoreOwners gives all files to the user and group of this process and drops ACL entries for
	// other users and groups.
	IgnoreOwners bool
	// Labels keeps the SELinux labels that the image has as attributes.
	Labels bool
	// SizesOnly replaces the content of files that are not sparse by zeros, for a destination that only
	// measures. Several layers are then read at a time.
	SizesOnly bool
	Limits    Limits
	// Epoch is the modification time of directories that no layer has an entry for; zero means now.
	Epoch time.Time
}

// Deploy merges the layers into the existing tree at root.
func Deploy(ctx context.Context, root string, layers []Layer, opt Options, log *progress.Reporter) error {
	d, err := deployerIn(root, layers, opt, log)
	if err != nil {
		return err
	}
	defer d.tree.Close()
	return d.run(ctx)
}

// To merges the layers into a destination that is empty. They are read in turn, unless only sizes count.
func To(ctx context.Context, dest Destination, layers []Layer, opt Options, log *progress.Reporter) error {
	d, err := newDeployer(dest, layers, opt, log)
	if err != nil {
		return err
	}
	return d.run(ctx)
}

// deployerIn deploys into a directory.
func deployerIn(root string, layers []Layer, opt Options, log *progress.Reporter) (*deployer, error) {
	t, err := tree.Open(root)
	if err != nil {
		return nil, err
	}
	empty, err := t.Empty()
	if err != nil {
		_ = t.Close()
		return nil, err
	}
	d, err := newDeployer(treeRoot{t}, layers, opt, log)
	if err != nil {
		_ = t.Close()
		return nil, err
	}
	d.tree = t
	d.paths.root().v.there = !empty
	t.Unsupported = d.lost.Add
	return d, nil
}

func newDeployer(dest Destination, layers []Layer, opt Options, log *progress.Reporter) (*deployer, error) {
	excluded, err := newExcluder(opt.Exclude)
	if err != nil {
		return nil, err
	}
	d := &deployer{
		ledger: newLedger(opt.Limits),
		dest:   dest, opt: opt, exclude: excluded, layers: layers, log: log,
		paths:  newTrie[merged](),
		wanted: newTrie[wanted](),
		late:   map[int32]map[int32]*inode{},
		buf:    make([]byte, bufferSize),
		procs:  runtime.GOMAXPROCS(0),
		pause:  func(int) {},
	}
	d.most = int64(d.procs) * aheadBytes
	d.paths.root().v = merged{kind: dir, made: true}
	return d, nil
}

// run merges all layers, finishes the tree and logs what was read.
func (d *deployer) run(ctx context.Context) error {
	began := time.Now()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if err := d.all(ctx); err != nil {
		return err
	}
	if err := d.again(ctx); err != nil {
		return err
	}
	if err := d.excludeThroughLinks(); err != nil {
		return err
	}
	d.warn()
	if err := d.finish(d.paths.root()); err != nil {
		return err
	}
	d.log.Note("%s, %s in %.1f s", progress.Count(d.read.entries, "entry"), progress.Bytes(d.read.bytes), time.Since(began).Seconds())
	return nil
}

// warn reports what could not be done as asked.
func (d *deployer) warn() {
	for _, w := range d.exclude.warnings() {
		d.log.Note("%s", w)
	}
	d.lost.Report(d.log.Note)
}

// deployer holds the state of one deployment.
type deployer struct {
	ledger
	dest    Destination
	stack   Stack      // dest, if it gets the layers one by one; else nil
	tree    *tree.Root // that dest writes to; nil: it is not a directory
	opt     Options
	exclude *excluder
	layers  []Layer
	log     *progress.Reporter
	lost    userns.Losses

	paths  *trie[merged]
	wanted *trie[wanted]              // targets of hard links, expected in layers below
	late   map[int32]map[int32]*inode // by layer and entry: files for the second pass
	buf    []byte
	read   struct{ entries, bytes int64 } // of all layers, before they are merged

	procs int             // how many layers are read at a time
	most  int64           // bytes of entries that may be read ahead of the merge
	pause func(bytes int) // for tests: called before each entry and each piece of a file
}

// all merges the layers from the top down, while those below are read ahead.
func (d *deployer) all(ctx context.Context) (err error) {
	a := d.startAhead(ctx)
	defer func() { err = errors.Join(err, a.close()) }()
	for k := len(d.layers); k >= 1; k-- {
		if err := d.layer(ctx, newLayer(k), a.turn(k)); err != nil {
			return d.in(k, err)
		}
		a.done(k)
	}
	return nil
}

// layer merges one layer below those that were merged before.
func (d *deployer) layer(ctx context.Context, l *layerState, r *reader) error {
	defer d.forget(l)
	before, steps, count := d.entries, d.allSteps(), int64(0)
	var counted layer.Counts
	for {
		d.pause(0)
		e, err := r.next()
		if err == nil {
			err = context.Cause(ctx)
		}
		if err == nil || err == io.EOF {
			if e := d.image.Add(counted, r.counts); e != nil {
				return e
			}
			counted = r.counts
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		d.entries++
		count++
		if err := d.entry(l, e, r); err != nil {
			return err
		}
		if err := d.maySpend("layer", d.allSteps()-steps, d.entries-before); err != nil {
			return err
		}
	}
	if err := d.resolveLinks(ctx, l); err != nil {
		return err
	}
	d.read.entries += count
	d.read.bytes += r.stream.Bytes()
	d.log.Note("layer %d/%d %s: %s, %s, %.1f s", r.k, len(d.layers), progress.Short(d.layers[r.k-1].Name()),
		progress.Bytes(r.stream.Bytes()), progress.Count(count, "entry"), time.Since(r.began).Seconds())
	return nil
}

// stepsLeft returns an error if the image took too many steps for the number of entries read so
// far. It bounds work that concerns the entries of several layers.
func (d *deployer) stepsLeft() error {
	return d.maySpend("image", d.allSteps(), d.entries)
}

// allSteps returns the steps so far, with those of walking to the names in a directory.
func (d *deployer) allSteps() int64 {
	if d.tree == nil {
		return d.steps
	}
	return d.steps + d.tree.Steps
}

// in adds layer k to an error.
func (d *deployer) in(k int, err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("layer %d/%d %s: %w", k, len(d.layers), d.layers[k-1].Name(), err)
}
