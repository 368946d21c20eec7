package image

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/storage"
	"github.com/opencontainers/go-digest"
)

// Store is a containers storage, open for reading. It is opened as an additional image store of
// an empty one in a scratch folder, so that nothing is ever written to it: it may be
// read-only, and podman may use it at the same time.
type Store struct {
	store   storage.Store
	scratch string
	root    string // graph root, for messages
}

// OpenStore opens the store at location, a graph root, or the one that storage.conf names.
func OpenStore(location string) (*Store, error) {
	opts, err := storeOptions(location)
	if err != nil {
		return nil, err
	}
	root := opts.GraphRoot
	driver, err := driverOf(root, opts.GraphDriverName)
	if err != nil {
		return nil, err
	}
	scratch, err := Scratch()
	if err != nil {
		return nil, fmt.Errorf("open containers storage %s: %w", root, err)
	}
	// Options are lists with commas, mounts lists with colons: a name without either.
	link := filepath.Join(scratch, "store")
	if err := os.Symlink(root, link); err != nil {
		os.RemoveAll(scratch)
		return nil, fmt.Errorf("open containers storage %s: %w", root, err)
	}
	opts.GraphRoot, opts.RunRoot = filepath.Join(scratch, "root"), filepath.Join(scratch, "run")
	opts.ImageStore = ""
	opts.GraphDriverName = driver
	opts.GraphDriverPriority = nil
	opts.GraphDriverOptions = append(imageStores(opts.GraphDriverOptions), driver+".imagestore="+link)
	if driver == "overlay" {
		opts.GraphDriverOptions = append(opts.GraphDriverOptions, "overlay.skip_mount_home=true")
	}
	s, err := storage.GetStore(opts)
	if err != nil {
		os.RemoveAll(scratch)
		return nil, fmt.Errorf("open containers storage %s: %w", root, err)
	}
	return &Store{store: s, scratch: scratch, root: root}, nil
}

func storeOptions(location string) (storage.StoreOptions, error) {
	if location != "" {
		return storage.StoreOptions{GraphRoot: location}, nil
	}
	opts, err := storage.DefaultStoreOptions()
	if err != nil {
		return opts, fmt.Errorf("read storage.conf: %w", err)
	}
	return opts, nil
}

// imageStores keeps, of a store's driver options, the additional image stores.
func imageStores(options []string) []string {
	var keep []string
	for _, o := range options {
		for _, driver := range []string{"overlay", "vfs", "overlay2"} {
			if path, ok := cutPrefix(o, driver+".imagestore=", driver+".additionalimagestore="); ok {
				if _, err := os.Stat(path); err == nil { // the library fails on one that is missing
					keep = append(keep, o)
				}
			}
		}
	}
	return keep
}

// driverOf finds the driver of the store at root by what is there, preferring the one configured.
func driverOf(root, configured string) (string, error) {
	if _, err := os.ReadDir(root); err != nil {
		if path, ok := errors.AsType[*fs.PathError](err); ok {
			err = path.Err
		}
		return "", &noStoreError{root, err.Error(), err}
	}
	for _, driver := range []string{configured, "overlay", "vfs"} {
		if driver == "" {
			continue
		}
		if _, err := os.Stat(filepath.Join(root, driver+"-images")); err == nil {
			return driver, nil
		}
	}
	return "", &noStoreError{root, "it holds no images", ErrNotStored}
}

// Close leaves no mount and no scratch folder behind.
func (s *Store) Close() error {
	_, err := s.store.Shutdown(true)
	return errors.Join(err, os.RemoveAll(s.scratch))
}

// Has says whether the store holds the image with that id, its config verified.
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
		return &MismatchError{What: "config of the image in containers storage " + s.root, Got: got, Want: id}
	}
	return nil
}

// find returns the store's name of the image: by id, else by the digest of its list, else by its
// name and tag.
func (s *Store) find(t Target) (string, error) {
	if t.ID == "" && t.Pinned == "" {
		return s.named(t.Name)
	}
	if t.ID != "" {
		if err := s.Has(t.ID); err != nil {
			return "", fmt.Errorf("image %s: %w", t.ID, err)
		}
		return t.ID.Encoded(), nil
	}
	imgs, err := s.store.ImagesByDigest(t.Pinned)
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

// cutPrefix is strings.CutPrefix for the first prefix that fits.
func cutPrefix(s string, prefixes ...string) (string, bool) {
	for _, p := range prefixes {
		if rest, ok := strings.CutPrefix(s, p); ok {
			return rest, true
		}
	}
	return s, false
}
