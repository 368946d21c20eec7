package gc

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/cacheinfo"
	"osbuild-containers/internal/manifest"
)

// Collected is the result of a plan.
type Collected struct {
	*Plan
	Freed int64    // bytes freed
	Busy  []string // why parts of the plan could not be carried out; nil if all were
}

// pruneWait is how long a run waits for the pool. Tests shorten it.
var pruneWait = 2 * time.Second

// Collect carries out a plan, except for what has been used since. Each step is atomic, even if the process is killed. While
// images are removed, osbuild is locked out of its store, since a running build needs the images that its sources found;
// while blobs are removed, the pool is locked exclusively. Busy items are left for the next run, which is not an error.
func Collect(ctx context.Context, c *cache.Cache, plan *Plan, now time.Time) (*Collected, error) {
	done := &Collected{Plan: plan}
	if err := done.removeImages(ctx, c); err != nil {
		return done, err
	}
	freed, err := c.RemoveStale(ctx, now.Add(-Grace))
	done.Freed = manifest.AddSizes(done.Freed, freed)
	if err != nil {
		return done, err
	}
	waiting, cancel := context.WithTimeout(ctx, pruneWait)
	defer cancel()
	pruned, err := c.Prune(waiting, now.Add(-Grace))
	done.Partial = pruned.Partial
	gone := map[digest.Digest]bool{}
	for _, b := range pruned.Unused { // includes blobs of the removed images
		gone[b.Digest] = true
	}
	done.Unused = slices.DeleteFunc(done.Unused, func(b cache.Stored) bool { return !gone[b.Digest] })
	done.Freed = manifest.AddSizes(done.Freed, manifest.AddSizes(cacheinfo.Bytes(pruned.Unused), cacheinfo.Bytes(pruned.Partial)))
	if ctx.Err() != nil {
		return done, context.Cause(ctx)
	}
	if errors.Is(err, cache.ErrInUse) {
		done.Busy, err = append(done.Busy, err.Error()), nil
	}
	return done, err
}

// removeImages removes images and lists.
func (done *Collected) removeImages(ctx context.Context, c *cache.Cache) error {
	if len(done.Images)+len(done.Lists) == 0 {
		return nil
	}
	unlock, err := c.LockHost()
	if errors.Is(err, cache.ErrInUse) {
		for n := range done.Images {
			done.Images[n].Why = err.Error()
		}
		done.Lists, done.Busy = nil, []string{err.Error()}
		return nil
	}
	if err != nil {
		return err
	}
	defer unlock()
	for n := range done.Images {
		r := &done.Images[n]
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		freed, err := c.Remove(ctx, r.ID, r.isUnused)
		done.Freed = manifest.AddSizes(done.Freed, freed)
		if errors.Is(err, cache.ErrInUse) {
			r.Why = err.Error()
		} else if err != nil && !errors.Is(err, fs.ErrNotExist) { // removed by another process
			return err
		}
	}
	if slices.ContainsFunc(done.Images, func(r Removal) bool { return r.Why != "" }) {
		done.Lists = nil // images that stay may need them
	}
	lists := done.Lists
	done.Lists = nil
	for _, l := range lists {
		went, err := c.RemoveFile(ctx, l)
		if errors.Is(err, cache.ErrInUse) {
			done.Busy = append(done.Busy, err.Error())
			return nil
		}
		if err != nil {
			return err
		}
		if went {
			done.Lists = append(done.Lists, l)
		}
	}
	return nil
}

// isUnused reports whether pub is the image that was planned, without use and change of names since then.
func (r *Removal) isUnused(pub *cache.Published) bool {
	origins, err := pub.Origins()
	named := err == nil && !slices.Equal(origins, r.Origins)
	return r.IsSame(pub) && !named && !pub.Used().After(r.Used)
}
