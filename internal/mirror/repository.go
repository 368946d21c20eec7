package mirror

import (
	"context"
	"errors"
	"io"
	"sync"

	"osbuild-containers/internal/fetch"
	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/image"
	"osbuild-containers/internal/image/registry"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/request"
	"osbuild-containers/internal/retry"
)

// repository is a repository of the mirror. It is opened at the first use, and again for a fresh token.
type repository struct {
	run  *run
	name string

	mu   sync.Mutex
	open []*registry.Destination // the last one is current
}

// current returns the current destination.
func (r *repository) current(ctx context.Context) (*registry.Destination, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.open) > 0 {
		return r.open[len(r.open)-1], nil
	}
	return r.connect(ctx)
}

// renew connects again, unless another goroutine has done so since old was current.
func (r *repository) renew(ctx context.Context, old *registry.Destination) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if old == nil || r.open[len(r.open)-1] != old {
		return nil
	}
	_, err := r.connect(ctx)
	return err
}

func (r *repository) connect(ctx context.Context) (*registry.Destination, error) {
	d, err := registry.OpenDestination(ctx, r.name, r.run.To, r.run.mounts.known())
	if err != nil {
		return nil, err
	}
	r.open = append(r.open, d)
	return d, nil
}

func (r *repository) close() {
	for _, d := range r.open {
		_ = d.Close()
	}
}

// ask makes a small request to the repository.
func (r *repository) ask(ctx context.Context, ask func(context.Context, *registry.Destination) error) error {
	op, used := r.operation(r.run.note(nil, r.name))
	return op.Ask(ctx, func(ctx context.Context) error {
		d, err := r.current(ctx)
		if err != nil {
			return err
		}
		*used = d
		return ask(ctx, d)
	})
}

// operation returns an operation on the repository. The caller must set used to the destination that a try uses.
func (r *repository) operation(note func(string, ...any)) (op *retry.Operation, used **registry.Destination) {
	used = new(*registry.Destination)
	op = retry.NewGroup(image.RetryPolicy(request.Docker, r.run.Tries)).New(func(f retry.Failure) {
		note("%v", f)
		if h := image.Hint(f.Err); f.Attempt == 1 && h != (hint.Hint{}) {
			note("%s", h.Spell(r.run.Tries.Spelling))
		}
	})
	op.Renew = func(ctx context.Context) error {
		return op.Once(ctx, func(ctx context.Context) error { return r.renew(ctx, *used) })
	}
	return op, used
}

func (r *repository) has(ctx context.Context, b manifest.Descriptor) (there bool, err error) {
	err = r.ask(ctx, func(ctx context.Context, d *registry.Destination) (err error) {
		there, err = d.Has(ctx, b)
		return err
	})
	return there, err
}

func (r *repository) mount(ctx context.Context, b manifest.Descriptor) (there bool, err error) {
	err = r.ask(ctx, func(ctx context.Context, d *registry.Destination) (err error) {
		there, err = d.Mount(ctx, b)
		return err
	})
	return there, err
}

// put sends the blob read from open. A blob that does not match is read again from the next location, or, if there is
// none, once more.
func (r *repository) put(ctx context.Context, b manifest.Descriptor, note func(string, ...any), open func(context.Context) (io.ReadCloser, error)) error {
	op, used := r.operation(note)
	for damaged := false; ; {
		err := op.Send(ctx, b.Size, open, func(ctx context.Context, body io.Reader) error {
			d, err := r.current(ctx)
			if err != nil {
				return err
			}
			*used = d
			return d.Put(ctx, b, body)
		})
		unread, ok := errors.AsType[*retry.UnreadError](err)
		if !ok {
			return err
		}
		wrong, _ := errors.AsType[*fetch.DamagedError](unread)
		elsewhere := wrong != nil && wrong.Elsewhere
		if !manifest.IsMismatch(unread) || damaged && !elsewhere {
			return unread.Err
		}
		damaged = damaged || !elsewhere
		note("%v; sending it again from the beginning", unread)
	}
}

// putManifest sends a manifest, unless the repository has it.
func (r *repository) putManifest(ctx context.Context, doc document) error {
	return r.ask(ctx, func(ctx context.Context, d *registry.Destination) error {
		there, err := d.HasManifest(ctx, doc.digest, doc.tag)
		if err != nil || there {
			return err
		}
		return d.PutManifest(ctx, doc.raw, doc.tag)
	})
}
