// Package mirror copies what is pinned to a registry that the user owns: manifest lists, manifests and
// blobs byte for byte, under the digests and the tags that they are pinned by.
//
// Many machines share such a registry as their cache: registries.conf (see Conf) has every tool ask it
// first, and what it serves is verified by digest like anything else.
//
// It promises that a manifest is sent when all its parts are there, the tag last; that a blob which
// the registry has is not sent, so that a run which was interrupted continues; that a blob which
// another repository of the registry has is mounted, where the registry does that; and that each
// blob is read once, from a cache that has it or else from its registry, and verified on its way,
// whatever number of repositories wants it. An image that fails leaves the others alone.
//
// It does not promise to keep what the registry has to itself: images of before stay.
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
	From  request.Access  // how the registries of the images are reached
	To    request.Access  // how that of the mirror is
	Cache *cache.Cache    // blobs that lie in it are taken from there
	Tries request.Options // how often and how long something is tried, and how much is done at one time
	All   bool            // all images of a list, not only those that are pinned
}

// A Result is what Copy did, or what it would do.
type Result struct {
	Images []Image
	Sum
}

// Image is one reference that was mirrored.
type Image struct {
	Reference string // as it is pinned
	To        string // the repository, with the tag if there is one
	Digest    digest.Digest
	Platforms []string
	Sum
	Err error // why it is not there, or not whole, with a hint
}

// A Sum counts blobs, in bytes, by what was done. A blob that several repositories need counts for each.
type Sum struct {
	Sent    int64 // over the network
	Mounted int64 // from another repository of the registry
	There   int64 // the repository had it
}

func (s *Sum) add(o Sum) {
	s.Sent = manifest.AddSizes(s.Sent, o.Sent)
	s.Mounted = manifest.AddSizes(s.Mounted, o.Mounted)
	s.There = manifest.AddSizes(s.There, o.There)
}

// ErrNothing reports that no pin can be mirrored.
var ErrNothing = hint.Add(errors.New("nothing is pinned that can be mirrored: images of a containers storage have no registry"),
	"export them, or push them and pin what you pushed")

// A RefusedError reports a request that cannot be fulfilled; nothing was changed.
type RefusedError struct{ Err error }

func (e *RefusedError) Error() string { return e.Err.Error() }
func (e *RefusedError) Unwrap() error { return e.Err }

// Copy copies the images and lists of the pins. Errors of single images are in the result; the error returned is
// about the whole.
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
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return r.result(), nil
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
	slots   *semaphore.Weighted // requests that may run at one time
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

// probe finds out whether the mirror can be reached at all, before anything is read for it.
func (r *run) probe(ctx context.Context) error {
	to := r.repos[0]
	err := to.ask(ctx, func(context.Context, *registry.Destination) error { return nil })
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return withHint(err)
}

// inSlot calls do when there is a slot for it.
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

// note logs a try that failed and is repeated.
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
