package storage

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/storage"
	"github.com/containers/storage/pkg/mount"
	"github.com/containers/storage/pkg/reexec"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/scratch"
)

// Reexec must be called first in main: containers/storage starts its own executable for some work. If it returns true,
// main must return.
func Reexec() bool { return reexec.Init() }

// Store is a containers storage open for reading, with its additional image stores. All of them are opened as additional
// image stores of an empty store in a scratch directory, so that nothing is written to them: they may be read-only or in
// use by podman.
type Store struct {
	store   storage.Store
	scratch string
	root    string // image directories, and unreadable ones, for messages
	places  int    // number of image directories
}

// placeLink returns the name of the nth image directory in the scratch directory.
func placeLink(scratch string, n int) string {
	return filepath.Join(scratch, fmt.Sprintf("store%d", n))
}

// OpenStore opens the store at location (a graph root), or the default store of storage.conf.
func OpenStore(location string) (*Store, error) {
	opts, err := storeOptions(location)
	if err != nil {
		return nil, err
	}
	driver, places, err := imagePlaces(opts)
	if err != nil {
		return nil, err
	}
	root := strings.Join(places, ", ") + unreadablePlaces(opts)
	scratch, err := scratch.Dir()
	if err != nil {
		return nil, fmt.Errorf("open containers storage %s: %w", root, err)
	}
	graphRoot, imageStore := opts.GraphRoot, opts.ImageStore
	opts.GraphRoot, opts.RunRoot = filepath.Join(scratch, "root"), filepath.Join(scratch, "run")
	opts.ImageStore = ""
	opts.GraphDriverName = driver
	opts.GraphDriverPriority = nil
	opts.GraphDriverOptions = nil
	for n, place := range places {
		// Options are separated by commas and mounts by colons: use a name without either.
		link := placeLink(scratch, n)
		if place == imageStore {
			err = joinStores(link, imageStore, graphRoot, driver)
		} else {
			err = os.Symlink(place, link)
		}
		if err != nil {
			os.RemoveAll(scratch)
			return nil, fmt.Errorf("open containers storage %s: %w", root, err)
		}
		opts.GraphDriverOptions = append(opts.GraphDriverOptions, driver+".imagestore="+link)
	}
	if err := mountNothing(&opts); err != nil {
		os.RemoveAll(scratch)
		return nil, fmt.Errorf("open containers storage %s: %w", root, err)
	}
	s, err := storage.GetStore(opts)
	if err != nil {
		os.RemoveAll(scratch)
		return nil, fmt.Errorf("open containers storage %s: %w", root, err)
	}
	return &Store{store: s, scratch: scratch, root: root, places: len(places)}, nil
}

// joinStores makes dir an image store of links into imageStore, with the tar-split data, which the library keeps in the
// graph root. It relies on the library opening additional image stores read-only, and opening each file below dir by
// name, so that links lead to the current files, podman's lock files included. Files in both directories of layers, such
// as layers.json, are those of the image store. For an image added later, reading its layers is an error.
func joinStores(dir, imageStore, graphRoot, driver string) error {
	layers := driver + "-layers"
	if err := os.MkdirAll(filepath.Join(dir, layers), 0o700); err != nil {
		return err
	}
	for _, from := range []struct{ root, below string }{{imageStore, ""}, {imageStore, layers}, {graphRoot, layers}} {
		entries, err := os.ReadDir(filepath.Join(from.root, from.below))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		for _, e := range entries {
			err := os.Symlink(filepath.Join(from.root, from.below, e.Name()), filepath.Join(dir, from.below, e.Name()))
			if err != nil && !errors.Is(err, fs.ErrExist) {
				return err
			}
		}
	}
	return nil
}

// storeOptions returns the options of storage.conf and CONTAINERS_GRAPHROOT, which podman unshare sets. A given location
// has no image store or additional stores.
func storeOptions(location string) (storage.StoreOptions, error) {
	if location != "" {
		return storage.StoreOptions{GraphRoot: location}, nil
	}
	opts, err := storage.DefaultStoreOptions()
	if err != nil {
		return opts, hint.With(fmt.Errorf("read storage.conf: %w", err), optionsHint(err))
	}
	opts.GraphRoot = cmp.Or(os.Getenv("CONTAINERS_GRAPHROOT"), opts.GraphRoot)
	return opts, nil
}

// optionsHint returns the hint for an error of the library, which looks for storage.conf below HOME and makes a directory in
// XDG_RUNTIME_DIR. After su, the variables may still be those of the other user.
func optionsHint(err error) hint.Hint {
	var path *fs.PathError
	if !errors.As(err, &path) {
		return hint.Hint{}
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" && strings.HasPrefix(path.Path, filepath.Clean(dir)) {
		return hint.New("XDG_RUNTIME_DIR must be a directory of this user: unset it, or log in as this user")
	}
	if errors.Is(err, fs.ErrPermission) {
		return hint.New("this user must be able to read %s", path.Path)
	}
	return hint.Hint{}
}

// imagePlaces returns the driver of a store and the directories with images of that driver, in the library's order: the
// image store if separate, the graph root, which may be empty or missing if there are others, and the additional image
// stores. It tries the configured driver before others.
func imagePlaces(opts storage.StoreOptions) (driver string, places []string, err error) {
	all := append([]string{opts.ImageStore, opts.GraphRoot}, additionalStores(opts.GraphDriverOptions)...)
	for _, some := range []bool{true, false} { // another driver may have left an empty store
		for _, driver := range []string{opts.GraphDriverName, "overlay", "vfs"} {
			if driver == "" || !slices.ContainsFunc(all, func(dir string) bool { return hasImages(dir, driver, some) }) {
				continue
			}
			for _, dir := range all {
				if hasImages(dir, driver, false) && !slices.Contains(places, dir) {
					places = append(places, dir)
				}
			}
			return driver, places, nil
		}
	}
	if _, err := os.ReadDir(opts.GraphRoot); err != nil {
		if path, ok := errors.AsType[*fs.PathError](err); ok {
			err = path.Err
		}
		return "", nil, &noStoreError{opts.GraphRoot, err.Error() + unreadablePlaces(opts), err}
	}
	return "", nil, &noStoreError{opts.GraphRoot, "it holds no images" + unreadablePlaces(opts), ErrNotStored}
}

// unreadablePlaces names the additional image stores that this user cannot read.
func unreadablePlaces(opts storage.StoreOptions) (text string) {
	for _, dir := range additionalStores(opts.GraphDriverOptions) {
		if _, err := os.Stat(filepath.Join(dir, "overlay-images")); errors.Is(err, fs.ErrPermission) {
			text += fmt.Sprintf(" (the additional image store %s cannot be read: permission denied)", dir)
		}
	}
	return text
}

// hasImages reports whether the directory has a store of the driver and, if some is set, at least one image in it. Other
// directories must not be opened: the library would create a store there.
func hasImages(dir, driver string, some bool) bool {
	if _, err := os.Stat(filepath.Join(dir, driver+"-images")); err != nil || dir == "" || !some {
		return err == nil && dir != ""
	}
	list, err := os.Stat(filepath.Join(dir, driver+"-images", "images.json"))
	return err == nil && list.Size() > int64(len("[]\n"))
}

// additionalStores returns the additional image stores in a store's driver options, of any driver.
func additionalStores(options []string) (paths []string) {
	for _, o := range options {
		key, value, _ := strings.Cut(o, "=")
		switch _, name, _ := strings.Cut(key, "."); name {
		case "imagestore", "additionalimagestore":
			paths = append(paths, strings.Split(value, ",")...)
		}
	}
	return paths
}

// split opens the tar-split data of a layer. The error is os.ErrNotExist if there is none.
func (s *Store) split(layer string) (io.ReadCloser, error) {
	name := filepath.Join(s.store.GraphDriverName()+"-layers", layer+".tar-split.gz")
	for n := range s.places {
		file, err := os.Open(filepath.Join(placeLink(s.scratch, n), name))
		if !errors.Is(err, os.ErrNotExist) {
			return file, err
		}
	}
	return nil, os.ErrNotExist
}

// Close removes the scratch directory. No mounts remain.
func (s *Store) Close() error {
	return errors.Join(shutdown(s.store), os.RemoveAll(s.scratch))
}

// mountNothing keeps the overlay driver from mounting: its own directory over itself, which would stay after a kill, and
// test overlays, which need privileges. Nothing depends on the results of these tests: nothing is mounted here, and they
// are not recorded in the store, so podman makes its own.
func mountNothing(o *storage.StoreOptions) error {
	if o.GraphDriverName != "overlay" {
		return nil
	}
	o.GraphDriverOptions = append(o.GraphDriverOptions, "overlay.skip_mount_home=true")
	answers := filepath.Join(o.RunRoot, "overlay")
	if err := os.MkdirAll(answers, 0o700); err != nil {
		return err
	}
	for _, a := range []string{"overlay-true", "metacopy()-false", "native-diff()-true"} {
		if err := os.WriteFile(filepath.Join(answers, a), nil, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// shutdown closes a store without mounts. The overlay driver unmounts its directory regardless, which the kernel refuses
// to unprivileged users and to root of a user namespace without its own mount namespace.
func shutdown(s storage.Store) error {
	_, err := s.Shutdown(true)
	if !errors.Is(err, unix.EPERM) {
		return err
	}
	home := filepath.Join(s.GraphRoot(), s.GraphDriverName())
	if mounted, e := mount.Mounted(home); mounted || e != nil {
		return errors.Join(err, e)
	}
	return nil
}

// Has returns an error unless the store has the image with that id. It verifies the config.
func (s *Store) Has(id digest.Digest) error {
	img, err := s.store.Image(id.Encoded())
	if err != nil {
		if errors.Is(err, storage.ErrImageUnknown) {
			return fmt.Errorf("%w %s; put it there first, for example with podman pull", ErrNotStored, s.root)
		}
		return fmt.Errorf("look into containers storage %s: %w", s.root, err)
	}
	config, err := s.store.ImageBigData(img.ID, id.String())
	if err != nil {
		return fmt.Errorf("read its config in containers storage %s: %w", s.root, err)
	}
	if got := digest.FromBytes(config); got != id {
		return manifest.Mismatch("config of the image in containers storage "+s.root, got, id)
	}
	return nil
}

// find returns the store's id of the image: by id, or else by the digest of its index, or else by its name and tag.
func (s *Store) find(w Wanted) (string, error) {
	if w.ID == "" && w.Pinned == "" {
		return s.named(w.Name)
	}
	if w.ID != "" {
		if err := s.Has(w.ID); err != nil {
			return "", fmt.Errorf("image %s: %w", w.ID, err)
		}
		return w.ID.Encoded(), nil
	}
	imgs, err := s.store.ImagesByDigest(w.Pinned)
	if err != nil {
		return "", fmt.Errorf("look into containers storage %s: %w", s.root, err)
	}
	if len(imgs) == 0 {
		return "", fmt.Errorf("%w %s; pull it by this digest first", ErrNotStored, s.root)
	}
	return imgs[0].ID, nil
}

// named returns the id of the image with that name and tag.
func (s *Store) named(name string) (string, error) {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return "", fmt.Errorf("image name %q: %w", name, err)
	}
	img, err := s.store.Image(reference.TagNameOnly(named).String())
	switch {
	case errors.Is(err, storage.ErrImageUnknown):
		return "", fmt.Errorf("%w %s; see its images with podman images, or pull it there", ErrNotStored, s.root)
	case err != nil:
		return "", fmt.Errorf("look into containers storage %s: %w", s.root, err)
	}
	return img.ID, nil
}
