// Package transfer writes images into a containers storage, so that podman has them as
// if it had pulled them.
//
// Layers are what takes time. They are decompressed, verified against digest and diff id
// and unpacked side by side, each once, whatever number of images share it; only the
// bookkeeping of the store happens in order. With overlay, unpacking is the library's in
// a thread whose root is the layer's directory, rather than in a process of its own, since
// to send all data through pipes takes a third of the time.
//
// What it promises: nothing is mounted below the store after Store has returned, also
// when it failed, nor when the process is killed; no device node and no temporary file
// stays there; and what the store writes at random or with the time of day is pinned
// afterwards, for the layers and images that are new (see pin.go). Two runs into an
// empty store differ in nothing.
//
// What it does not: it does not ask policy.json, the sources have done that; and a store
// that lies where others write at the same time is not what it is made for.
package transfer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/storage"
	graphdriver "github.com/containers/storage/drivers"
	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/image/internals"
	"osbuild-containers/internal/image/local"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/scratch"
)

// Options say what store to write to.
type Options struct {
	Root   string // graph root; no symbolic link in it
	Driver string // overlay or vfs
	Epoch  *int64 // the time, in seconds, that everything new is to have; nil for now
}

// Item is an image to write.
type Item struct {
	Image            *local.Image
	Lists            [][]byte // manifest lists that name it
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

// Store writes the images into the store, which is made when it is not there.
func Store(ctx context.Context, opt Options, items []Item, log *progress.Reporter) (err error) {
	internals.RouteLogs(log.Note)
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
	w, err := open(opt, scratch, log)
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
	return w.pin()
}

// writer is an open store.
type writer struct {
	opt   Options
	store storage.Store
	log   *progress.Reporter
	began time.Time
	there map[string]bool   // layers that were there before
	added map[string]*chain // layers that were not, by their ids
}

func open(opt Options, scratch string, log *progress.Reporter) (*writer, error) {
	o := storage.StoreOptions{
		GraphRoot:       opt.Root,
		RunRoot:         filepath.Join(scratch, "run"),
		GraphDriverName: opt.Driver,
	}
	if opt.Driver == "overlay" {
		if err := mountNothing(&o); err != nil {
			return nil, err
		}
	}
	began := time.Now().Truncate(time.Second) // file systems' clocks are behind
	s, err := storage.GetStore(o)
	if errors.Is(err, graphdriver.ErrIncompatibleFS) {
		err = fmt.Errorf("%w\nuse a tree on another file system, or the storage-driver vfs", err)
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

// mountNothing keeps the store from mounting anything below the tree, which whoever is
// killed would leave there: neither its own directory over itself, nor overlays to try what
// the kernel can. Nothing depends on that: nothing is mounted here, and podman finds out
// by itself, since the answers given here are not a part of the store.
func mountNothing(o *storage.StoreOptions) error {
	o.GraphDriverOptions = []string{"overlay.skip_mount_home=true"}
	answers := filepath.Join(o.RunRoot, "overlay")
	if err := os.MkdirAll(answers, 0o700); err != nil {
		return fmt.Errorf("open containers storage: %w", err)
	}
	for _, a := range []string{"overlay-true", "metacopy()-false", "native-diff()-true"} {
		if err := os.WriteFile(filepath.Join(answers, a), nil, 0o600); err != nil {
			return fmt.Errorf("open containers storage: %w", err)
		}
	}
	return nil
}

// close leaves nothing mounted, and removes what is of no use to others.
func (w *writer) close() error {
	_, err := w.store.Shutdown(true)
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

// diffIDs are what the config says of the layers, the lowest first.
func diffIDs(config []byte, n int) ([]digest.Digest, error) {
	var c struct {
		RootFS struct {
			DiffIDs []digest.Digest `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := manifest.Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("config cannot be read: %w", err)
	}
	if got := len(c.RootFS.DiffIDs); got != n {
		return nil, fmt.Errorf("the config has %d diff ids and the manifest %d layers", got, n)
	}
	for _, d := range c.RootFS.DiffIDs {
		if err := d.Validate(); err != nil || d.Algorithm() != digest.SHA256 {
			return nil, fmt.Errorf("diff id %q is not sha256: and 64 hexadecimal digits", d)
		}
	}
	return c.RootFS.DiffIDs, nil
}
