package verify

import (
	"cmp"
	"context"
	"errors"
	"os"
	"slices"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/cacheinfo"
	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/request"
)

// A Repairer repairs a cache in which Verify found damage.
type Repairer struct {
	Dir     string // of the cache
	Options request.Options
	Access  request.Access
	Log     *progress.Reporter
	Fetched int64 // bytes downloaded into the cache; set by Repair
}

// Repaired is the result of a repair.
type Repaired struct {
	Mended []Damage // repaired damage
	Left   []Left   // damage that remains
}

// Left is damage that was not repaired.
type Left struct {
	Damage
	Why error // with a hint; nil if no repair was tried
}

// Repair repairs what Verify found damaged in the images of a scan. A blob that is intact elsewhere in the cache is taken
// from there; everything else is fetched, by the digests recorded next to the images. A repaired image replaces the damaged
// one atomically. Damaged blobs of the pool are removed first, so that no process uses them.
func (r *Repairer) Repair(ctx context.Context, images []*cacheinfo.Image, damaged []Damage) (*Repaired, error) {
	c := cache.Open(r.Dir)
	pool, err := c.OpenPool(ctx)
	if err != nil {
		return nil, err
	}
	defer pool.Close()
	for _, d := range damaged {
		if d.What != PartConfig && d.What != PartLayer && d.What != PartPool {
			continue
		}
		if err := pool.Discard(ctx, d.Digest); err != nil {
			return nil, err
		}
	}
	broken := slices.DeleteFunc(slices.Clone(images), func(i *cacheinfo.Image) bool {
		return !slices.ContainsFunc(damaged, func(d Damage) bool { return d.Image == i.ID })
	})
	for _, i := range broken {
		if err := reassemble(ctx, c, pool, i, images, damaged); err != nil && ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	why, err := r.fetch(ctx, c, images, broken, damaged)
	if err != nil {
		return nil, err
	}
	for _, i := range broken { // images without an origin may find their blobs in other images
		if why[i.ID] != nil && reassemble(ctx, c, pool, i, images, damaged) == nil {
			delete(why, i.ID)
		}
	}
	return r.outcome(ctx, c, damaged, why)
}

var (
	errAgain   = hint.Add(errors.New("it was fetched again and is damaged again"), "check the disk of the cache")
	errNoPlace = hint.Add(errors.New("it has no recorded origin"), "remove the file: the next fetch brings it again")
)

// outcome verifies again what was damaged.
func (r *Repairer) outcome(ctx context.Context, c *cache.Cache, damaged []Damage, why map[digest.Digest]error) (*Repaired, error) {
	images, err := cacheinfo.Scan(c)
	if err != nil {
		return nil, err
	}
	images = slices.DeleteFunc(images, func(i *cacheinfo.Image) bool {
		return !slices.ContainsFunc(damaged, func(d Damage) bool { return d.Image == i.ID })
	})
	v, err := Verify(ctx, c, images, false, nil)
	if err != nil {
		return nil, err
	}
	out := &Repaired{}
	for _, d := range v.Damaged {
		out.Left = append(out.Left, Left{d, cmp.Or(why[d.Image], errAgain)})
	}
	still := func(d Damage) bool {
		return slices.ContainsFunc(v.Damaged, func(l Damage) bool { return l.Image == d.Image && l.Path == d.Path })
	}
	for _, d := range damaged {
		switch {
		case d.Image != "" && still(d):
		case d.What == PartFile && !isRight(c, d.Digest):
			out.Left = append(out.Left, Left{d, cmp.Or(why[d.Digest], errNoPlace)})
		default:
			out.Mended = append(out.Mended, d)
		}
	}
	return out, nil
}

func isRight(c *cache.Cache, list digest.Digest) bool {
	_, err := c.ReadFile(list)
	return err == nil
}

// errNotHere is returned for an image whose blobs are not all in the cache.
var errNotHere = errors.New("not all of it is in the cache")

// reassemble publishes an image again from intact blobs of the cache. Its manifest, list and signatures must be intact.
func reassemble(ctx context.Context, c *cache.Cache, pool *cache.Pool, i *cacheinfo.Image, images []*cacheinfo.Image, damaged []Damage) error {
	for _, d := range damaged {
		if d.Image == i.ID && d.What != PartConfig && d.What != PartLayer && d.What != PartVersion {
			return errNotHere
		}
	}
	pub, err := c.OpenImage(i.ID)
	if err != nil {
		return err
	}
	defer pub.Close()
	img := &cache.Image{}
	if img.Manifest, err = pub.Manifest(); err != nil {
		return err
	}
	m, err := manifest.Parse(img.Manifest)
	if err != nil || m.List || m.Config.Digest != i.ID || digest.FromBytes(img.Manifest) != i.Manifest {
		return errNotHere // it has been replaced
	}
	if img.List, err = pub.List(); err != nil {
		return err
	}
	if img.Signatures, err = pub.Signatures(); err != nil {
		return err
	}
	if img.Schema1, err = pub.Schema1(); err != nil {
		return err
	}
	img.Blobs = m.Blobs()
	for _, b := range img.Blobs {
		if err := collectBlob(ctx, c, pool, b, images, i); err != nil {
			return err
		}
	}
	return c.Publish(ctx, pool, i.ID, img)
}

// collectBlob adds a blob to the pool from an image that has it intact, unless the pool has it.
func collectBlob(ctx context.Context, c *cache.Cache, pool *cache.Pool, b manifest.Descriptor, images []*cacheinfo.Image, first *cacheinfo.Image) error {
	if err := pool.Discard(ctx, b.Digest); err != nil {
		return err
	}
	w, err := pool.Acquire(ctx, b.Digest, b.Size, nil)
	if errors.Is(err, cache.ErrExists) {
		return nil
	}
	if err != nil {
		return err
	}
	defer w.Close()
	for _, i := range append([]*cacheinfo.Image{first}, images...) {
		if !slices.ContainsFunc(i.Blobs, func(other cacheinfo.Blob) bool { return other.Digest == b.Digest && !other.Missing }) {
			continue
		}
		if done, err := w.Link(ctx, func() (*os.File, error) { return c.OpenImageBlob(i.ID, b.Digest) }); err != nil || done {
			return err
		}
	}
	return errNotHere
}
