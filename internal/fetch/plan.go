package fetch

import (
	"context"
	"errors"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/image"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/panics"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/request"
)

// Planned is the forecast for one item.
type Planned struct {
	Item   request.Item
	Cached bool          // nothing to fetch
	From   string        // repository (a mirror's or the registry's) or store it would be fetched from
	Size   int64         // bytes of the list or of all blobs of known size
	Blobs  []PlannedBlob // config and layers, each digest once
	Err    error         // why it can be neither planned nor fetched, with a hint
}

// PlannedBlob is the forecast for one blob.
type PlannedBlob struct {
	manifest.Descriptor
	Way  Way
	Have int64 // bytes of a partial download that would be resumed
}

// Way tells where a blob would come from.
type Way string

// Ways.
const (
	Download Way = "download" // downloaded, or the rest of it, see Have
	InPool   Way = "pool"     // the pool has it
	InImage  Way = "image"    // the cached image, damaged or in another form, has it intact
	Earlier  Way = "earlier"  // an earlier image of the plan fetches it
)

// Download returns how many bytes would be downloaded, manifests excluded.
func (p *Planned) Download() (n int64) {
	for _, b := range p.Blobs {
		if b.Way == Download {
			n += max(0, b.Size-b.Have)
		}
	}
	if p.Blobs == nil && !p.Cached {
		n = p.Size
	}
	return n
}

// Reused returns how many bytes would not be downloaded, since the cache has them; 0 if all is cached.
func (p *Planned) Reused() int64 {
	if p.Cached {
		return 0
	}
	return p.Size - p.Download()
}

// PlanImages returns what Images would do. It reads manifests to learn the blobs, but downloads no blob, fetches no
// signature and writes nothing; the cache need not exist.
func PlanImages(ctx context.Context, r *request.Request, log *progress.Reporter) []Planned {
	j := newJob(r, log)
	plans := j.plan(ctx, j.hasImage, planImage)
	brought := make(map[digest.Digest]bool)
	for n := range plans {
		p := &plans[n]
		if p.Cached {
			p.Size = cachedSize(j.cache, p.Item.ID)
		}
		for n := range p.Blobs {
			b := &p.Blobs[n]
			if b.Way == Download && brought[b.Digest] {
				b.Way, b.Have = Earlier, 0
			}
			brought[b.Digest] = true
		}
	}
	return plans
}

// PlanLists returns what Lists would do. It reads each list to learn its size.
func PlanLists(ctx context.Context, r *request.Request, log *progress.Reporter) []Planned {
	j := newJob(r, log)
	plans := j.plan(ctx, j.hasList, planList)
	for n := range plans {
		if p := &plans[n]; p.Cached {
			raw, _ := j.cache.ReadFile(p.Item.ID) // it was just there
			p.Size = int64(len(raw))
		}
	}
	return plans
}

// cachedSize returns the size of a cached image, 0 if it no longer exists.
func cachedSize(c *cache.Cache, id digest.Digest) (size int64) {
	pub, err := c.OpenImage(id)
	if err != nil {
		return 0
	}
	defer pub.Close()
	raw, err := pub.Manifest()
	if err != nil {
		return 0
	}
	m, err := manifest.Parse(raw)
	if err != nil {
		return 0
	}
	for _, b := range m.Blobs() {
		size = manifest.AddSizes(size, max(0, b.Size))
	}
	return size
}

func (j *job) plan(ctx context.Context, present func(context.Context, request.Item) bool, planOne func(context.Context, *session, *Planned) error) []Planned {
	plans := make([]Planned, len(j.req.Items))
	var g errgroup.Group // without its context: a failed item must not cancel the others
	g.SetLimit(j.req.Options.MaxParallel)
	for n, ri := range j.req.Items {
		p := &plans[n]
		p.Item = ri
		g.Go(func() error {
			it := j.newItem(ri)
			err := panics.Catch(func() error {
				if p.Cached = present(ctx, ri); p.Cached {
					return nil
				}
				return it.plan(ctx, p, planOne)
			})
			if err != nil && ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			if err != nil {
				p.Err = it.withHint(err)
			}
			return nil
		})
	}
	_ = g.Wait()
	return plans
}

func (it *item) plan(ctx context.Context, p *Planned, planOne func(context.Context, *session, *Planned) error) (err error) {
	if err := it.target.Refused(ctx); err != nil {
		return err
	}
	s, err := it.newSession(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	p.From = s.source().Origin()
	return planOne(ctx, s, p)
}

func planImage(ctx context.Context, s *session, p *Planned) error {
	c, err := s.find(ctx)
	if err != nil {
		return err
	}
	var m *manifest.Manifest
	if c.old != nil {
		m = c.old.Manifest()
	} else {
		raw, err := image.Publishable(ctx, s.source(), c.raw)
		if err != nil {
			return err
		}
		if m, err = manifest.Parse(raw); err != nil {
			return err
		}
	}
	pub, err := s.it.cache.OpenImage(s.it.ID)
	if err == nil {
		defer pub.Close()
	}
	for _, d := range m.Blobs() {
		b := s.it.planBlob(d, pub)
		p.Size += max(0, b.Size)
		p.Blobs = append(p.Blobs, b)
	}
	return nil
}

// planBlob returns what blob would do.
func (it *item) planBlob(d manifest.Descriptor, pub *cache.Published) PlannedBlob {
	unsized := d.Size < 0
	if b, err := it.cache.PooledBlob(d.Digest); err == nil && (unsized || b.Size == d.Size) {
		d.Size = b.Size
		return PlannedBlob{d, InPool, 0}
	}
	if pub != nil {
		if b, err := pub.Stored(d.Digest); err == nil && (unsized || b.Size == d.Size) {
			d.Size = b.Size
			return PlannedBlob{d, InImage, 0}
		}
	}
	b, err := it.cache.PartialBlob(d.Digest)
	if err != nil || b.Size > d.Size && !unsized {
		return PlannedBlob{d, Download, 0}
	}
	return PlannedBlob{d, Download, b.Size}
}

func planList(ctx context.Context, s *session, p *Planned) error {
	raw, m, err := s.manifest(ctx, "")
	if err == nil && !m.List {
		err = errNoList
	}
	p.Size = int64(len(raw))
	return err
}
