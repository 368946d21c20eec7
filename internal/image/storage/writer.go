package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/storage"
	graphdriver "github.com/containers/storage/drivers"

	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/image/library"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/scratch"
	"osbuild-containers/internal/userns"
)

// Options say what store to write to.
type Options struct {
	Root   string // graph root; no symbolic link in it
	Driver string // overlay or vfs
	Epoch  *int64 // the time, in seconds, that everything new is to have; nil for now

	// IgnoreOwners gives the files of layers to the user and group of this process; with vfs, only those whose owner
	// the user namespace does not map.
	IgnoreOwners bool
}

// An Image is what an image to write is read from.
type Image interface {
	// Name is the name the image gets in the store; a tag is added where it has none.
	Name() string
	Manifest() *manifest.Manifest
	// Raw returns the bytes of the manifest.
	Raw() []byte
	// Origin returns the manifest that the image has elsewhere, with its layers compressed; nil for none.
	Origin() []byte
	// Config returns the config, which has the digest that the manifest says.
	Config(ctx context.Context) ([]byte, error)
	// Blob opens a blob that the manifest names, and need not verify it.
	Blob(ctx context.Context, d manifest.Descriptor) (io.ReadCloser, error)
	// Signatures returns the signatures in the format of the dir: transport.
	Signatures() [][]byte
}

// Item is an image to write.
type Item struct {
	Image            Image
	Lists            [][]byte // indexes that name it
	RemoveSignatures bool
}

// Name is the name that an image of that name has in a store, with a tag.
func Name(name string) (string, error) {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return "", fmt.Errorf("%q is not the name of an image: %w", name, err)
	}
	return reference.TagNameOnly(named).String(), nil
}

// Write writes the images into the store, which is created if it does not exist, so that podman has them as if it had
// pulled them.
//
// Layers take most of the time. They are decompressed, verified against digest and diff ID and unpacked side by side,
// each once, however many images share it; only the bookkeeping of the store happens in order. With overlay, the
// library unpacks in a thread whose root is the layer's directory, rather than in a process of its own, since sending
// all data through pipes takes a third of the time.
//
// Nothing is mounted below the store after Write has returned, also when it failed, nor when the process is killed; no
// device node and no temporary file stays there. What the store writes at random or with the time of day is normalized
// afterwards, for the layers and images that are new (see normalize.go): two runs into an empty store differ in nothing.
//
// It does not ask policy.json, which the sources have done, and others must not write to the store at the same time.
func Write(ctx context.Context, opt Options, items []Item, log *progress.Reporter) (err error) {
	library.RouteLogs(log.Note)
	for _, it := range items {
		if err := readable(ctx, it); err != nil {
			return err
		}
	}
	if err := check(opt.Root, opt.Driver); err != nil {
		return fmt.Errorf("containers storage %s: %w", opt.Root, err)
	}
	scratch, err := scratch.Dir()
	if err != nil {
		return fmt.Errorf("open containers storage: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(scratch)) }()
	w, err := openWriter(opt, scratch, log)
	if err != nil {
		return err
	}
	err = w.all(ctx, items)
	if e := w.close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	w.lost.Report(w.log.Note)
	return w.normalize()
}

// writer is an open store.
type writer struct {
	opt   Options
	store storage.Store
	log   *progress.Reporter
	began time.Time
	there map[string]bool   // layers that were there before
	added map[string]*chain // layers that were not, by their ids
	lost  userns.Losses
}

func openWriter(opt Options, scratch string, log *progress.Reporter) (*writer, error) {
	o := storage.StoreOptions{
		GraphRoot:       opt.Root,
		RunRoot:         filepath.Join(scratch, "run"),
		GraphDriverName: opt.Driver,
	}
	if err := mountNothing(&o); err != nil {
		return nil, fmt.Errorf("open containers storage %s: %w", opt.Root, err)
	}
	if opt.IgnoreOwners {
		o.GraphDriverOptions = append(o.GraphDriverOptions, opt.Driver+".ignore_chown_errors=true")
	}
	began := time.Now().Truncate(time.Second) // file systems' clocks are behind
	s, err := storage.GetStore(o)
	if errors.Is(err, graphdriver.ErrIncompatibleFS) {
		err = hint.Add(err, "use a tree on another file system, or the storage-driver vfs")
	}
	if err != nil {
		return nil, fmt.Errorf("open containers storage %s: %w", opt.Root, err)
	}
	w := &writer{opt: opt, store: s, log: log, began: began, there: map[string]bool{}, added: map[string]*chain{}}
	layers, err := s.Layers()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read containers storage %s: %w", opt.Root, err), w.close())
	}
	for _, l := range layers {
		w.there[l.ID] = true
	}
	return w, nil
}

// close leaves nothing mounted, and removes what is of no use to others.
func (w *writer) close() error {
	err := shutdown(w.store)
	home := filepath.Join(w.opt.Root, w.opt.Driver)
	if e := os.Remove(filepath.Join(home, "backingFsBlockDev")); e != nil && !errors.Is(e, os.ErrNotExist) {
		err = errors.Join(err, e)
	}
	_ = os.Remove(filepath.Join(home, "staging")) // where it is empty
	_ = os.Remove(filepath.Join(home, "tempdirs"))
	_ = os.Remove(filepath.Join(w.opt.Root, "tmp"))
	return err
}

func (w *writer) all(ctx context.Context, items []Item) error {
	var chains []*chain
	for _, it := range items {
		c, err := w.plan(ctx, it.Image)
		if err != nil {
			return err
		}
		for _, one := range c {
			if w.added[one.id] == nil && !w.there[one.id] {
				w.added[one.id] = one
				chains = append(chains, one)
			}
		}
	}
	if err := w.layers(ctx, chains); err != nil {
		return err
	}
	for _, it := range items {
		if err := w.record(ctx, it); err != nil {
			return fmt.Errorf("image %q: %w", it.Image.Name(), err)
		}
	}
	return nil
}
