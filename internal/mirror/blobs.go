package mirror

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"osbuild-containers/internal/image/registry"
	"osbuild-containers/internal/manifest"
)

// blob is a blob needed by one or more repositories.
type blob struct {
	manifest.Descriptor
	id      digest.Digest // of an image with the blob
	wanted  []*want
	damaged atomic.Bool // the cache's copy is damaged
}

// want is one repository that needs a blob.
type want struct {
	to    *repository
	units []*unit
}

// done records that the repository has the blob. The bytes count for the first unit.
func (w *want) done(b *blob, s Sum) {
	for n, u := range w.units {
		if n > 0 {
			s = Sum{There: b.Size}
		}
		u.mu.Lock()
		u.Sum.add(s)
		u.mu.Unlock()
		u.parts.Done()
	}
}

// fail records that the repository cannot get the blob.
func (w *want) fail(err error) {
	for _, u := range w.units {
		u.fail(err)
		u.parts.Done()
	}
}

// blobs returns the blobs of all units, each once.
func (r *run) blobs() []*blob {
	byDigest := map[digest.Digest]*blob{}
	var all []*blob
	for _, u := range r.units {
		if u.Err != nil {
			continue
		}
		for _, d := range u.blobs {
			b := byDigest[d.Digest]
			if b == nil {
				b = &blob{Descriptor: d, id: u.pins[0].ID}
				byDigest[d.Digest] = b
				all = append(all, b)
			}
			b.want(u)
			u.parts.Add(1)
		}
	}
	slices.SortStableFunc(all, func(a, b *blob) int { return cmp.Compare(b.Size, a.Size) })
	return all
}

func (b *blob) want(u *unit) {
	for _, w := range b.wanted {
		if w.to == u.to {
			w.units = append(w.units, u)
			return
		}
	}
	b.wanted = append(b.wanted, &want{u.to, []*unit{u}})
}

// mounts records whether the registry mounts blobs across repositories, which is known after the first attempt.
type mounts struct {
	once    sync.Once
	shared  *registry.BlobLocations
	yes, no atomic.Bool
}

func (m *mounts) known() *registry.BlobLocations {
	m.once.Do(func() { m.shared = registry.NewBlobLocations() })
	return m.shared
}

// copyBlobs copies all blobs, large ones first. Before that, it copies the smallest blob needed by several repositories,
// to learn whether the registry mounts.
func (r *run) copyBlobs(ctx context.Context, all []*blob) {
	for n, b := range slices.Backward(all) {
		if len(b.wanted) > 1 {
			all = slices.Delete(all, n, n+1)
			r.copyBlob(ctx, b)
			break
		}
	}
	var g errgroup.Group
	g.SetLimit(r.Tries.MaxParallel)
	for _, b := range all {
		g.Go(func() error {
			r.copyBlob(ctx, b)
			return nil
		})
	}
	_ = g.Wait()
}

// missing returns the repositories that lack a blob they need, and whether any repository has it.
func (r *run) missing(ctx context.Context, b *blob) (missing []*want, have bool) {
	for _, w := range b.wanted {
		var there bool
		err := r.inSlot(ctx, func() (err error) {
			there, err = w.to.has(ctx, b.Descriptor)
			return err
		})
		switch {
		case err != nil:
			w.fail(err)
		case there:
			have = true
			w.done(b, Sum{There: b.Size})
		default:
			missing = append(missing, w)
		}
	}
	return missing, have
}

// copyBlob mounts or sends a blob to each repository that lacks it.
func (r *run) copyBlob(ctx context.Context, b *blob) {
	missing, have := r.missing(ctx, b)
	from := &blobSource{run: r, blob: b, keep: len(missing) > 1 && !r.mounts.yes.Load()}
	defer from.close()
	for _, w := range missing {
		var s Sum
		err := r.inSlot(ctx, func() (err error) {
			s, err = r.mountOrSend(ctx, w, from, have)
			return err
		})
		if err != nil {
			w.fail(err)
			continue
		}
		have = true
		w.done(b, s)
	}
}

// mountOrSend mounts the blob if another repository has it and the registry mounts, and otherwise sends it.
func (r *run) mountOrSend(ctx context.Context, w *want, from *blobSource, have bool) (Sum, error) {
	b := from.blob
	if have && !r.mounts.no.Load() {
		mounted, err := w.to.mount(ctx, b.Descriptor)
		if err != nil {
			return Sum{}, err
		}
		if mounted {
			r.mounts.yes.Store(true)
			w.bar(b).Skip("mounted")
			return Sum{Mounted: b.Size}, nil
		}
		r.mounts.no.Store(!r.mounts.yes.Load()) // once it has worked, a failure may be transient
	}
	if err := from.send(ctx, w); err != nil {
		return Sum{}, err
	}
	return Sum{Sent: b.Size}, nil
}

// planBlobs reports what copyBlobs would do, assuming that the registry mounts.
func (r *run) planBlobs(ctx context.Context, all []*blob) {
	var wg sync.WaitGroup
	for _, b := range all {
		wg.Go(func() { r.planBlob(ctx, b) })
	}
	wg.Wait()
}

func (r *run) planBlob(ctx context.Context, b *blob) {
	missing, have := r.missing(ctx, b)
	for _, w := range missing {
		s := Sum{Mounted: b.Size}
		if !have {
			s = Sum{Sent: b.Size}
		}
		have = true
		w.done(b, s)
	}
}
