package deploy

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"osbuild-containers/internal/layer"
	"osbuild-containers/internal/panics"
	"osbuild-containers/internal/tree"
)

// What may be in memory for each layer that is read at a time. See docs/deploy.md.
const (
	chunkBytes = 4 << 20  // decompressed, not read yet
	aheadBytes = 16 << 20 // entries read ahead
	bufferSize = 256 << 10
)

// filesPerDir is how many of the files that are written ahead are in a directory. In one with thousands, ext4
// compares every name that is looked up, added or removed with the hundreds that are in a block.
const filesPerDir = 64

// maxBegun is how many layers may be begun and not merged: each has a directory open.
const maxBegun = 128

// ahead reads layers ahead of the one that is being merged, each in a goroutine of its own.
// It writes the files to a scratch directory, with their metadata, whatever layers above
// have; all that is decided is decided in turn. It stops reading a layer, for good, when the
// limits of what may be ahead are reached: the rest is read when the layer's turn comes.
//
// A destination that is not a directory gets contents straight from the layers, in turn, unless only
// sizes count: then no content is kept.
type ahead struct {
	d      *deployer
	ctx    context.Context
	budget *layer.Budget

	mu      sync.Mutex
	readers []*reader // by layer; nil: not begun, or done
	turned  []bool    // by layer: its turn has come
	current int       // the layer whose turn it is
	running int

	on      bool       // entries are read ahead
	scratch *tree.Root // nil: contents are not written ahead
	remove  func() error

	memory, disk atomic.Int64 // of what is ahead
}

// startAhead begins to read.
func (d *deployer) startAhead(ctx context.Context) *ahead {
	n := len(d.layers)
	a := &ahead{d: d, ctx: ctx, readers: make([]*reader, n+1), turned: make([]bool, n+1), budget: layer.NewBudget(int64(d.procs) * chunkBytes)}
	a.on = d.procs > 1 && n > 1 && (d.tree != nil || d.opt.SizesOnly)
	if d.tree == nil {
		return a
	}
	if a.on {
		// Where there is no room for a directory, there is none to write ahead.
		a.scratch, a.remove, _ = d.tree.Scratch()
		a.on = a.scratch != nil
	}
	d.tree.Full = a.full
	return a
}

// turn returns the reader of layer k, which no other goroutine uses from then on.
func (a *ahead) turn(k int) *reader {
	a.mu.Lock()
	a.current, a.turned[k] = k, true
	r := a.readers[k]
	if r == nil {
		r = a.open(k)
	}
	a.mu.Unlock()
	a.begin()
	r.stop.Store(true)
	r.stream.Prioritize()
	if r.ended == nil {
		return r
	}
	<-r.ended
	if r.failed { // there was no room
		r.rewind()
	}
	return r
}

// done closes the reader of layer k.
func (a *ahead) done(k int) {
	a.mu.Lock()
	r := a.readers[k]
	a.readers[k] = nil
	a.mu.Unlock()
	r.close()
}

// open begins to decompress layer k.
func (a *ahead) open(k int) *reader {
	r := &reader{k: k, ahead: a, began: time.Now()}
	r.start()
	a.readers[k] = r
	return r
}

// begin begins to read as many layers ahead as allowed: the largest first, since the merge waits
// for the last to end. None begins before half of what may be ahead is free: it
// would soon have to stop, for good. None begins, either, if as many have stopped as there are
// processors: each of them holds what it needs to continue, for zstd up to its window.
func (a *ahead) begin() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.on && a.running < a.d.procs-1 && a.room(2) && a.ctx.Err() == nil {
		next, begun, stopped := 0, 0, 0
		for k := len(a.readers) - 1; k >= 1; k-- {
			if a.turned[k] {
				continue
			}
			if r := a.readers[k]; r != nil {
				begun++
				if r.stopped {
					stopped++
				}
			} else if next == 0 || a.d.layers[k-1].Size > a.d.layers[next-1].Size {
				next = k
			}
		}
		if next == 0 || begun >= maxBegun || stopped >= a.d.procs {
			return
		}
		var dir *tree.Root
		if a.scratch != nil {
			var err error
			if dir, err = a.scratch.Sub(strconv.Itoa(next)); err != nil {
				a.on = false
				return
			}
		}
		r := a.open(next)
		r.dir, r.ended = dir, make(chan struct{})
		a.running++
		go a.run(r)
	}
}

// room reports whether what is ahead takes less than a part of what it may take.
func (a *ahead) room(part int64) bool {
	return a.memory.Load() < (a.d.most+part-1)/part && a.disk.Load() < (a.d.limits.LayerBytes+part-1)/part
}

// run reads a layer ahead.
func (a *ahead) run(r *reader) {
	err := panics.Catch(func() error {
		r.read()
		return nil
	})
	if err != nil {
		r.err = err
	}
	a.mu.Lock()
	a.running--
	r.stopped = r.err == nil
	if r.failed {
		a.on = false
	}
	a.mu.Unlock()
	a.begin()
	close(r.ended)
}

// full discards all that is ahead, when the disk is full: some of it may be hidden, and then would
// never have been written. It reports whether there was anything.
func (a *ahead) full() bool {
	discarded := a.discard()
	if r := a.readers[a.current]; r != nil && slices.ContainsFunc(r.queue, func(p *readAhead) bool { return p.written }) {
		r.rewind()
		return true
	}
	return discarded
}

// discard discards what is ahead of the layers that follow, and reports whether there was anything.
func (a *ahead) discard() bool {
	a.mu.Lock()
	a.on = false
	var found []*reader
	for k, r := range a.readers {
		if r != nil && k != a.current {
			found = append(found, r)
			a.readers[k] = nil
		}
	}
	a.mu.Unlock()
	for _, r := range found {
		r.close()
	}
	return len(found) > 0
}

// close ends all that runs and removes what is left.
func (a *ahead) close() error {
	a.discard()
	if a.d.tree != nil {
		a.d.tree.Full = nil
	}
	for _, r := range a.readers {
		if r != nil {
			r.close()
		}
	}
	if a.remove == nil {
		return nil
	}
	return a.remove()
}
