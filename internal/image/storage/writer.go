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

// Options describe the store to write to.
type Options struct {
	Root   string // graph root; no symbolic link in it
	Driver string // overlay or vfs
	Epoch  *int64 // time of everything new, in seconds; nil: the current time

	// IgnoreOwners gives the files of layers to the user and group of this process; with vfs, only those whose owner
	// is not mapped in the user namespace.
	IgnoreOwners bool
}

// An Image is the source of an image to write.
type Image interface {
	// Name is the name to give the image in the store; a tag is added if it has none.
	Name() string
	Manifest() *manifest.Manifest
	// Raw returns the bytes of the manifest.
	Raw() []byte
	// Origin returns the original manifest with compressed layers, or nil.
	Origin() []byte
	// Config returns the config, which has the digest in the manifest.
	Config(ctx context.Context) ([]byte, error)
	// Blob opens a blob named by the manifest. It need not verify it.
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

// Name returns an image's name in a store, with a tag.
func Name(name string) (string, error) {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return "", fmt.Errorf("%q is not the name of an image: %w", name, err)
	}
	return reference.TagNameOnly(named).String(), nil
}

// Write writes images into the store as if podman had pulled them. It creates the store if necessary.
//
// Layers take most of the time. They are decompressed, verified against digest and diff ID, and unpacked in parallel, each
// once even if several images share it; only the bookkeeping of the store is sequential. With overlay, the library unpacks
// in a thread chrooted to the layer's directory instead of a child process, since piping all data to one takes a third of
// the time.
//
// Nothing stays mounted below the store after Write returns, fails or is killed, and no device node or temporary file
// remains. Random values and times written by the store are normalized afterwards for new layers and images (see
// normalize.go): two runs into an empty store give the same bytes.
//
// Write does not check policy.json, which the sources have done. Nothing else may write to the store at the same time.
func Write(ctx context.Context, opt Options, items []Item, log *progress.Reporter) (err error) {
	library.RouteLogs(log.Note)
	if err := restrict(opt.Root); err != nil {
		return fmt.Errorf("containers storage %s: %w", opt.Root, err)
	}
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
	there map[string]bool   // layers that existed before
	added map[string]*chain // new layers by id
	lost  userns.Losses

	devices map[string]*devices // of layers that are unpacked on top of each other, by their ids
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
	began := time.Now().Truncate(time.Second) // file system timestamps lag behind
	s, err := storage.GetStore(o)
	if errors.Is(err, graphdriver.ErrIncompatibleFS) {
		err = hint.Add(err, "use a tree on another file system, or the storage-driver vfs")
	}
	if err != nil {
		return nil, fmt.Errorf("open containers storage %s: %w", opt.Root, err)
	}
	w := &writer{opt: opt, store: s, log: log, began: began, there: map[string]bool{}, added: map[string]*chain{}, devices: map[string]*devices{}}
	layers, err := s.Layers()
	for i := 0; err == nil && i < len(layers); i++ {
		var removed bool
		removed, err = w.removeUnfinished(layers[i])
		w.there[layers[i].ID] = !removed
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read containers storage %s: %w", opt.Root, err), w.close())
	}
	return w, nil
}

// close leaves nothing mounted and removes temporary files.
func (w *writer) close() error {
	err := shutdown(w.store)
	home := filepath.Join(w.opt.Root, w.opt.Driver)
	if e := os.Remove(filepath.Join(home, "backingFsBlockDev")); e != nil && !errors.Is(e, os.ErrNotExist) {
		err = errors.Join(err, e)
	}
	_ = os.Remove(filepath.Join(home, "staging")) // only if empty
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
