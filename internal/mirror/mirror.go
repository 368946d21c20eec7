// Package mirror copies pinned images to a registry of the user: manifest lists, manifests and blobs byte for byte, under
// the pinned digests and tags.
//
// Many machines can share such a registry as their cache: with the configuration that Conf returns, every tool asks it
// first, and verifies what it serves by digest.
//
// It guarantees that a manifest is sent after all its parts, and the tag last; that a blob which the registry has is not
// sent, so an interrupted run continues; that a blob in another repository of the registry is mounted, if the registry
// supports it; and that each blob is read and verified once, from a cache or else its registry, however many repositories
// need it. An image that fails does not affect the others.
//
// It never deletes from the registry: earlier images stay.
package mirror

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/semaphore"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/fetch"
	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/image/registry"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/panics"
	"osbuild-containers/internal/pin"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/request"
)

// Options select what is copied, the destination, and how.
type Options struct {
	Place Place
	From  request.Access  // access to the images' registries
	To    request.Access  // access to the mirror's registry
	Cache *cache.Cache    // source of blobs that it has
	Tries request.Options // limits for retries and parallel requests
	All   bool            // copy all images of a list, not only the pinned ones
}

// A Result is what Copy did, or Plan would do.
type Result struct {
	Images []Image
	Sum
}

// Image is one mirrored reference.
type Image struct {
	Reference string // as pinned
	To        string // destination repository, with the tag if there is one
	Digest    digest.Digest
	Platforms []string
	Sum
	Err error // why it could not be copied completely, with a hint
}

// A Sum counts bytes of blobs by what was done. A blob counts once for each repository that needs it.
type Sum struct {
	Sent    int64 // sent over the network
	Mounted int64 // mounted from another repository of the registry
	There   int64 // already in the repository
}

func (s *Sum) add(o Sum) {
	s.Sent = manifest.AddSizes(s.Sent, o.Sent)
	s.Mounted = manifest.AddSizes(s.Mounted, o.Mounted)
	s.There = manifest.AddSizes(s.There, o.There)
}

// errNothing reports that no pin can be mirrored.
var errNothing = hint.Add(errors.New("nothing is pinned that can be mirrored: images of a containers storage have no registry"),
	"export them, or push them and pin what you pushed")

// A RefusedError reports an invalid request; nothing was changed.
type RefusedError struct{ Err error }

func (e *RefusedError) Error() string { return e.Err.Error() }
func (e *RefusedError) Unwrap() error { return e.Err }

// Copy copies the images and lists of the pins. Errors of single images are in the result; the returned error concerns all of
// them.
func Copy(ctx context.Context, o Options, pins []pin.Image, log *progress.Reporter) (*Result, error) {
	r, err := newRun(ctx, o, pins, log)
	if err != nil {
		return nil, err
	}
	defer r.close()
	if err := r.probe(ctx); err != nil {
		return nil, err
	}
	log.Begin(len(r.units))
	r.read(ctx)
	var publish sync.WaitGroup
	blobs := r.blobs()
	for _, u := range r.units {
		u.start()
		publish.Go(func() {
			u.parts.Wait()
			if u.Err == nil {
				u.fail(r.inSlot(ctx, func() error { return u.publish(ctx) }))
			}
			u.finish()
		})
	}
	r.copyBlobs(ctx, blobs)
	publish.Wait()
	res := r.result()
	if ctx.Err() != nil {
		return nil, hint.Kept(context.Cause(ctx), res.Sent, o.Place.String())
	}
	return res, nil
}

// Plan reports what Copy would do, and sends nothing.
func Plan(ctx context.Context, o Options, pins []pin.Image, log *progress.Reporter) (*Result, error) {
	r, err := newRun(ctx, o, pins, log)
	if err != nil {
		return nil, err
	}
	defer r.close()
	if err := r.probe(ctx); err != nil {
		return nil, err
	}
	r.read(ctx)
	r.planBlobs(ctx, r.blobs())
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return r.result(), nil
}

// run is one Copy or Plan.
type run struct {
	Options
	log     *progress.Reporter
	streams *fetch.Streams
	units   []*unit
	repos   []*repository       // of the mirror
	slots   *semaphore.Weighted // limits parallel requests
	mounts  mounts
}

func newRun(ctx context.Context, o Options, pins []pin.Image, log *progress.Reporter) (*run, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	r := &run{Options: o, log: log, streams: fetch.NewStreams(o.Tries, log), slots: semaphore.NewWeighted(int64(o.Tries.MaxParallel))}
	if err := r.group(pins); err != nil {
		return nil, &RefusedError{err}
	}
	return r, nil
}

func (r *run) close() {
	for _, u := range r.units {
		if u.stream != nil {
			_ = u.stream.Close()
		}
	}
	for _, to := range r.repos {
		to.close()
	}
}

// probe checks that the mirror can be reached before anything is read.
func (r *run) probe(ctx context.Context) error {
	to := r.repos[0]
	err := to.ask(ctx, func(context.Context, *registry.Destination) error { return nil })
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return withHint(err)
}

// inSlot calls do while holding a slot.
func (r *run) inSlot(ctx context.Context, do func() error) error {
	if r.slots.Acquire(ctx, 1) != nil {
		return context.Cause(ctx)
	}
	defer r.slots.Release(1)
	return panics.Catch(do)
}

// read reads the manifests of all units.
func (r *run) read(ctx context.Context) {
	var wg sync.WaitGroup
	for _, u := range r.units {
		wg.Go(func() { u.fail(r.inSlot(ctx, func() error { return u.read(ctx) })) })
	}
	wg.Wait()
}

func (r *run) result() *Result {
	res := &Result{}
	for _, u := range r.units {
		if u.Err != nil {
			u.Err = withHint(fmt.Errorf("%s: %w", u.Reference, u.Err))
		}
		res.Images = append(res.Images, u.Image)
		res.add(u.Sum)
	}
	return res
}

// note logs a failed try that is repeated.
func (r *run) note(item *progress.Item, what string) func(format string, args ...any) {
	return func(format string, args ...any) {
		text := what + ": " + fmt.Sprintf(format, args...)
		if item == nil {
			r.log.Note("%s", text)
			return
		}
		item.Note("%s", text)
	}
}
