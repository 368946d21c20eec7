package pin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/image"
	"osbuild-containers/internal/image/registry"
	"osbuild-containers/internal/panics"
	"osbuild-containers/internal/request"
	"osbuild-containers/internal/retry"
)

// fanOut is the number of references looked up in parallel, for each download that Options allow: answers are small, so
// latency dominates.
const fanOut = 4

// A Resolver looks up references in registries and stores.
type Resolver struct {
	Access  request.Access
	Options request.Options
	Note    func(format string, args ...any) // logs warnings and retries

	reported retry.Reported // failed tries
}

// Wanted is a reference to pin for some platforms.
type Wanted struct {
	Reference
	Platforms []Platform
	pins      []Image // existing pins, one for each platform, or nil
}

// arePinned reports whether all existing pins are of the manifest.
func (w *Wanted) arePinned(manifest digest.Digest) bool {
	return len(w.pins) > 0 && !slices.ContainsFunc(w.pins, func(i Image) bool { return !i.Schema1 || i.Manifest != manifest })
}

// Resolve resolves the references for their platforms, in parallel. If one fails, it returns no images but an error that
// names each failed reference.
func (r *Resolver) Resolve(ctx context.Context, wanted []Wanted) ([]Image, error) {
	image.RouteLogs(r.Note)
	images := make([][]Image, len(wanted))
	errs := r.each(len(wanted), func(n int) (err error) {
		images[n], err = r.resolve(ctx, wanted[n])
		return err
	})
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err := nameErrors(wanted, errs); err != nil {
		return nil, err
	}
	return slices.Concat(images...), nil
}

// nameErrors joins the errors of the references. An error that several have is reported once, with all their names.
func nameErrors(wanted []Wanted, errs []error) error {
	more := make([][]string, len(errs)) // further references with the same error
	first := map[string]int{}
	var all []error
	for n, err := range errs {
		if err == nil {
			continue
		}
		if same, ok := first[err.Error()]; ok {
			more[same] = append(more[same], wanted[n].String())
			continue
		}
		first[err.Error()] = n
	}
	for n, err := range errs {
		if err == nil || first[err.Error()] != n {
			continue
		}
		if others := more[n]; len(others) > 0 {
			err = fmt.Errorf("%w (the same for %d more: %s)", err, len(others), strings.Join(others, ", "))
		}
		all = append(all, nameError(wanted[n].Reference, err))
	}
	return errors.Join(all...)
}

// each calls do for 0 to n-1, several in parallel, and returns their errors.
func (r *Resolver) each(n int, do func(n int) error) []error {
	errs := make([]error, n)
	var g errgroup.Group
	g.SetLimit(fanOut * max(1, r.Options.MaxParallel))
	for i := range n {
		g.Go(func() error {
			errs[i] = panics.Catch(func() error { return do(i) })
			return nil
		})
	}
	_ = g.Wait()
	return errs
}

// nameError adds the reference and a hint to an error, or to each of several joined errors.
func nameError(ref Reference, err error) error {
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		var errs []error
		for _, e := range several.Unwrap() {
			errs = append(errs, nameError(ref, e))
		}
		return errors.Join(errs...)
	}
	return hint.With(fmt.Errorf("%s: %w", ref, err), hintOf(err))
}

// hintOf returns the hint for an error of a reference, or the zero Hint if the error needs none.
func hintOf(err error) hint.Hint {
	if registry.IsNotFound(err) {
		return hint.New("check the name and the tag, and whether the registry still has it")
	}
	if h := cmp.Or(hint.Of(err), image.Hint(err)); h != (hint.Hint{}) {
		return h
	}
	if class, _ := image.Classify(err); class == retry.Transient {
		return hint.New("the registry or the network is in trouble: try again later, or raise %s", hint.Option("retries"))
	}
	return hint.Hint{}
}

// try makes small requests for one reference, with retries.
func (r *Resolver) try(ctx context.Context, ref Reference, ask func(context.Context) error) error {
	op := retry.NewGroup(image.RetryPolicy(ref.Transport, r.Options)).New(func(f retry.Failure) {
		if r.reported.Repeated(f) {
			return
		}
		r.Note("%s: %v", ref, f)
		if h := image.Hint(f.Err); f.Attempt == 1 && h != (hint.Hint{}) {
			r.Note("%s", h.Spell(r.Options.Spelling))
		}
	})
	return op.Ask(ctx, ask)
}

// resolve pins one reference for its platforms.
func (r *Resolver) resolve(ctx context.Context, w Wanted) (images []Image, err error) {
	now := time.Now().UTC().Truncate(time.Second)
	l := &lookup{Resolver: r, ref: w.Reference}
	if err := l.open(ctx); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.src.Close()) }()
	from := ""
	if origin := l.src.Origin(); w.Transport == request.Docker && origin != w.Name {
		from = origin
	}
	if l.old != nil && w.arePinned(l.digest) { // no need to read layers
		images = slices.Clone(w.pins)
		for n := range images {
			images[n].Resolved, images[n].From = now, from
		}
		return images, nil
	}
	found, err := l.find(ctx, w.Platforms)
	if err != nil {
		return nil, err
	}
	for n, f := range found {
		i := Image{
			Reference: w.String(), StorageLocation: w.Location, Platform: w.Platforms[n].String(),
			Manifest: f.digest, ID: f.Config.Digest, Layers: make([]Layer, 0, len(f.Layers)), Base: f.base, Resolved: now, From: from,
		}
		for _, d := range f.Layers {
			i.Layers = append(i.Layers, Layer{Digest: d.Digest, Size: d.Size})
		}
		i.Schema1 = l.old != nil
		if l.top.List {
			i.List = l.digest
		}
		if w.Transport != request.Docker {
			i.Transport = w.Transport
		}
		images = append(images, i)
	}
	return images, nil
}
