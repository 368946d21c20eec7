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

	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/scratch"
)

// Reexec must be called first in main: containers/storage starts its own executable again for
// some work. It reports whether this was such a start, after which main returns.
func Reexec() bool { return reexec.Init() }

// Store is a containers storage, open for reading, with the additional image stores that belong to it. All of
// them are opened as additional image stores of an empty one in a scratch directory, so that nothing is ever
// written to them: they may be read-only, and podman may use them at the same time.
type Store struct {
	store   storage.Store
	scratch string
	root    string // the directories with images, and those that may not be read, for messages
	places  int    // how many they are
}

// placeLink returns the name of the nth directory with images in the scratch directory.
func placeLink(scratch string, n int) string {
	return filepath.Join(scratch, fmt.Sprintf("store%d", n))
}

// OpenStore opens the store at location, a graph root, or the one that storage.conf names.
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
		// Options are lists with commas, mounts lists with colons: a name without either.
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

// joinStores makes dir an image store of links: all of it is in the image store, but the library keeps what it
// knows of the layers' archives (tar-split) in the graph root. It relies on this: the library opens additional image
// stores for reading only; it finds each file below dir by its name, so links lead to what has that name at that time, the
// lock files that podman uses among them; and what is in both directories of layers, such as layers.json, is that of
// the image store. An image that is added later is found, but not its archive: reading its layers is an error then.
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

// storeOptions are what storage.conf says, and CONTAINERS_GRAPHROOT, which podman unshare sets; but a
// location that is given has no more to it.
func storeOptions(location string) (storage.StoreOptions, error) {
	if location != "" {
		return storage.StoreOptions{GraphRoot: location}, nil
	}
	opts, err := storage.DefaultStoreOptions()
	if err != nil {
		return opts, fmt.Errorf("read storage.conf: %w", err)
	}
	opts.GraphRoot = cmp.Or(os.Getenv("CONTAINERS_GRAPHROOT"), opts.GraphRoot)
	return opts, nil
}

// imagePlaces returns the driver of a store and the directories that have images of that driver, as the
// library looks for them: the image store if it is apart from the graph root, the graph root, which may
// be empty or missing where there are others, and the additional image stores. The configured driver comes
// first, then the others that are found.
func imagePlaces(opts storage.StoreOptions) (driver string, places []string, err error) {
	all := append([]string{opts.ImageStore, opts.GraphRoot}, additionalStores(opts.GraphDriverOptions)...)
	for _, some := range []bool{true, false} { // another driver may have left an empty store, too
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

// unreadablePlaces names the additional image stores that this user may not read.
func unreadablePlaces(opts storage.StoreOptions) (text string) {
	for _, dir := range additionalStores(opts.GraphDriverOptions) {
		if _, err := os.Stat(filepath.Join(dir, "overlay-images")); errors.Is(err, fs.ErrPermission) {
			text += fmt.Sprintf(" (the additional image store %s cannot be read: permission denied)", dir)
		}
	}
	return text
}

// hasImages reports whether a store of the driver is in the directory, and, if some is wanted, whether an image is
// in it. Any other directory must not be opened: the library would make it a store.
func hasImages(dir, driver string, some bool) bool {
	if _, err := os.Stat(filepath.Join(dir, driver+"-images")); err != nil || dir == "" || !some {
		return err == nil && dir != ""
	}
	list, err := os.Stat(filepath.Join(dir, driver+"-images", "images.json"))
	return err == nil && list.Size() > int64(len("[]\n"))
}

// additionalStores returns the additional image stores that a store's driver options name, under whichever
// driver.
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

// split opens what the library keeps of the archive of a layer. The error is os.ErrNotExist where it keeps nothing.
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

// Close leaves no mount and no scratch directory behind.
func (s *Store) Close() error {
	return errors.Join(shutdown(s.store), os.RemoveAll(s.scratch))
}

// mountNothing keeps the overlay driver from mounting anything: neither its own directory over itself, which a killed
// process would leave so, nor overlays to try what the kernel can, which an ordinary user may not. Nothing depends on
// that: nothing is mounted here, and podman finds out by itself, since the answers given here are not a part of the
// store.
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

// shutdown closes a store of which this process has mounted nothing. The overlay driver unmounts its directory all the
// same, which the kernel refuses, mounted or not, to an ordinary user and to root of a user namespace without a mount namespace
// of its own.
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

// Has reports whether the store holds the image with that id, its config verified.
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

// find returns the store's name of the image: by id, else by the digest of its list, else by its
// name and tag.
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

// named is the id of the image with that name and tag.
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
