// Package gc decides which images, manifest lists and blobs of a cache can be removed, and removes them.
//
// PlanGC only reads the cache; Collect carries out the plan, except for what has been used since.
package gc

import (
	"cmp"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/cacheinfo"
	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/manifest"
)

// A Policy decides what may be removed from a cache. Images and lists in Keep stay. Other images are removed if they have
// been unused for Unused; then the least recently used ones are removed until the cache is at most MaxSize, except those
// whose removal would free nothing. Without either limit, all other images are removed. The zero Policy removes no image.
type Policy struct {
	Keep    map[digest.Digest]bool // images by id, lists by digest; nil keeps nothing
	Unused  time.Duration          // remove images unused for this long; 0: no limit
	MaxSize *int64                 // of the cache, in bytes; nil: no limit
}

// Grace is how long interrupted downloads, and lists without an image, are kept after their last change.
const Grace = 24 * time.Hour

// hasImages reports whether the policy may remove images.
func (p *Policy) hasImages() bool { return p.Keep != nil || p.Unused > 0 || p.MaxSize != nil }

// A Removal is an image to remove.
type Removal struct {
	*cacheinfo.Image
	Frees int64  // bytes of blobs only in this image, once those before it are removed
	Why   string // why it was kept; "" if it was or will be removed
}

// A Plan is what to remove.
type Plan struct {
	Images  []Removal       // in order of removal, least recently used first
	Lists   []cache.Stored  // lists of which no image stays
	Unused  []cache.Stored  // pooled blobs of no image
	Partial []cache.Stored  // interrupted downloads not resumed
	Total   int64           // bytes of all blobs before
	Frees   int64           // bytes to remove
	Over    int64           // bytes above MaxSize that cannot be removed
	Missing []digest.Digest // entries of Keep that the cache lacks
}

// PlanGC returns what a policy would remove. It removes nothing.
func PlanGC(c *cache.Cache, p Policy, now time.Time) (*Plan, error) {
	images, err := cacheinfo.Scan(c)
	if err != nil {
		return nil, err
	}
	return planGC(c, p, images, now)
}

// PlanRemove returns a plan that removes some of the images, the blobs and lists needed only by them, and what PlanGC
// removes with the zero Policy. It removes nothing.
func PlanRemove(c *cache.Cache, images, some []*cacheinfo.Image, now time.Time) (*Plan, error) {
	p := Policy{Keep: map[digest.Digest]bool{}}
	for _, i := range images {
		if !slices.Contains(some, i) {
			p.Keep[i.ID] = true
		}
	}
	return planGC(c, p, images, now)
}

func planGC(c *cache.Cache, p Policy, images []*cacheinfo.Image, now time.Time) (*Plan, error) {
	plan := &Plan{}
	pooled, err := c.Pooled()
	if err != nil {
		return nil, err
	}
	partial, err := c.Partial()
	if err != nil {
		return nil, err
	}
	w := newUsage(images, pooled)
	for _, b := range pooled {
		if b.Links == 1 {
			plan.Unused = append(plan.Unused, b)
			plan.Frees = manifest.AddSizes(plan.Frees, b.Size)
		}
	}
	for _, b := range partial {
		if b.Changed.Before(now.Add(-Grace)) {
			plan.Partial = append(plan.Partial, b)
			plan.Frees = manifest.AddSizes(plan.Frees, b.Size)
		}
	}
	plan.Total = manifest.AddSizes(w.total, cacheinfo.Bytes(partial))
	if !p.hasImages() {
		return plan, nil
	}
	files, err := c.Files()
	if err != nil {
		return nil, err
	}
	plan.choose(p, images, w, now)
	plan.chooseLists(c, p, images, files, now)
	plan.findMissing(p, images, files)
	return plan, nil
}

// findMissing records what is in Keep but not in the cache.
func (plan *Plan) findMissing(p Policy, images []*cacheinfo.Image, lists []cache.Stored) {
	there := map[digest.Digest]bool{}
	for _, i := range images {
		there[i.ID], there[i.List] = true, true
	}
	for _, l := range lists {
		there[l.Digest] = true
	}
	for d := range p.Keep {
		if !there[d] {
			plan.Missing = append(plan.Missing, d)
		}
	}
	slices.Sort(plan.Missing)
}

// choose selects the images to remove.
func (plan *Plan) choose(p Policy, images []*cacheinfo.Image, w *usage, now time.Time) {
	images = slices.SortedFunc(slices.Values(images), func(a, b *cacheinfo.Image) int {
		return cmp.Or(a.Used.Compare(b.Used), strings.Compare(string(a.ID), string(b.ID)))
	})
	left := plan.Total - plan.Frees
	var going []*cacheinfo.Image
	spare := map[*cacheinfo.Image]bool{} // removed only to reduce the size
	for _, i := range images {
		old := p.Unused > 0 && i.Used.Before(now.Add(-p.Unused))
		large := p.MaxSize != nil && left > *p.MaxSize
		others := p.Unused == 0 && p.MaxSize == nil
		if !p.Keep[i.ID] && (old || large || others) {
			going = append(going, i)
			left -= w.take(i)
			spare[i] = !old && !others
		}
	}
	// Removing a later image may free the space for which an earlier one was selected.
	for _, i := range slices.Backward(going) {
		back := w.give(i)
		if spare[i] = spare[i] && manifest.AddSizes(left, back) <= *p.MaxSize; spare[i] {
			left += back
		} else {
			w.take(i)
		}
	}
	going = slices.DeleteFunc(going, func(i *cacheinfo.Image) bool { return spare[i] })
	for _, i := range going {
		w.give(i)
	}
	for _, i := range going {
		frees := w.take(i)
		plan.Frees = manifest.AddSizes(plan.Frees, frees)
		plan.Images = append(plan.Images, Removal{Image: i, Frees: frees})
	}
	if p.MaxSize != nil {
		plan.Over = max(0, left-*p.MaxSize)
	}
}

// chooseLists selects the lists that name no image that stays.
func (plan *Plan) chooseLists(c *cache.Cache, p Policy, images []*cacheinfo.Image, files []cache.Stored, now time.Time) {
	stays := map[digest.Digest]bool{}
	for _, i := range images {
		if !slices.ContainsFunc(plan.Images, func(r Removal) bool { return r.ID == i.ID }) {
			stays[i.Manifest], stays[i.List] = true, true
		}
	}
	for _, f := range files {
		if p.Keep[f.Digest] || stays[f.Digest] || !f.Changed.Before(now.Add(-Grace)) {
			continue
		}
		raw, err := c.ReadFile(f.Digest)
		if err != nil {
			continue
		}
		m, err := manifest.Parse(raw)
		if err != nil || !m.List { // a file of another source of osbuild
			continue
		}
		if !slices.ContainsFunc(m.Entries, func(e manifest.Entry) bool { return stays[e.Digest] }) {
			plan.Lists = append(plan.Lists, f)
		}
	}
}

// usage counts the hard links of files, to tell how many bytes the removal of an image frees.
type usage struct {
	names  map[cache.FileID]uint64 // links that a file still has
	pooled map[cache.FileID]bool   // has a link in the pool, which is removed when it is the last
	total  int64
}

func newUsage(images []*cacheinfo.Image, pooled []cache.Stored) *usage {
	w := &usage{names: map[cache.FileID]uint64{}, pooled: map[cache.FileID]bool{}}
	add := func(f cache.FileID, links uint64, size int64) {
		if _, known := w.names[f]; !known {
			w.names[f] = links
			w.total = manifest.AddSizes(w.total, size)
		}
	}
	for _, b := range pooled {
		add(b.FileID, b.Links, b.Size)
		w.pooled[b.FileID] = true
	}
	for _, i := range images {
		for _, b := range i.Blobs {
			if !b.Missing {
				add(b.File, b.Links, b.Size)
			}
		}
	}
	return w
}

// take removes an image's links, and returns how many bytes that frees.
func (w *usage) take(i *cacheinfo.Image) (frees int64) {
	for _, b := range i.Blobs {
		if b.Missing {
			continue
		}
		w.names[b.File]--
		if left := w.names[b.File]; left == 0 || left == 1 && w.pooled[b.File] {
			frees += b.Size
		}
	}
	return frees
}

// give restores an image's links, and returns how many bytes that needs.
func (w *usage) give(i *cacheinfo.Image) (needs int64) {
	for _, b := range i.Blobs {
		if b.Missing {
			continue
		}
		if left := w.names[b.File]; left == 0 || left == 1 && w.pooled[b.File] {
			needs += b.Size
		}
		w.names[b.File]++
	}
	return needs
}

// errKeepsNothing guards against the wrong file being passed as the one with what to keep.
var errKeepsNothing = hint.Add(errors.New("no image to keep is named, so all images would be removed"),
	"use --older-than, or delete the cache, if that is meant")

var errNegative = errors.New("a duration and a size must not be negative")

// Check refuses a policy that would remove more than the user meant.
func (p *Policy) Check() error {
	if p.Keep != nil && len(p.Keep) == 0 && p.Unused == 0 && p.MaxSize == nil {
		return errKeepsNothing
	}
	if p.Unused < 0 || p.MaxSize != nil && *p.MaxSize < 0 {
		return errNegative
	}
	return nil
}
