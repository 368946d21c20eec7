package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/containers/image/v5/docker/reference"
	imgmanifest "github.com/containers/image/v5/manifest"
	"github.com/containers/image/v5/pkg/blobinfocache/none"
	istorage "github.com/containers/image/v5/storage"
	"github.com/containers/image/v5/types"
	"github.com/containers/storage"
	"github.com/containers/storage/pkg/archive"
	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/manifest"
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
	const hint = "check storage-location, or storage.conf where none is given"
	if _, err := os.ReadDir(root); err != nil {
		return "", fmt.Errorf("no containers storage: %w; %s", err, hint)
	}
	for _, driver := range []string{configured, "overlay", "vfs"} {
		if driver == "" {
			continue
		}
		if _, err := os.Stat(filepath.Join(root, driver+"-images")); err == nil {
			return driver, nil
		}
	}
	return "", fmt.Errorf("%w %s: it holds no images; %s", ErrNotStored, root, hint)
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

// storedSource is an image in containers storage. Its layers are there unpacked: they come out
// as uncompressed tar streams that have the digests named in the config as diff ids.
type storedSource struct {
	reader
	store  *Store
	image  string
	layers map[digest.Digest]string // uncompressed digest to layer id
	infos  []types.BlobInfo         // lowest first
}

func openStored(ctx context.Context, t Target) (Source, error) {
	st, err := OpenStore(t.StorageLocation)
	if err != nil {
		return nil, err
	}
	s, err := st.open(ctx, t)
	if err != nil {
		return nil, errors.Join(err, st.Close())
	}
	return s, nil
}

func (s *Store) open(ctx context.Context, t Target) (*storedSource, error) {
	name, err := s.find(t)
	if err != nil {
		return nil, err
	}
	ref, err := istorage.Transport.NewStoreReference(s.store, nil, name)
	if err != nil {
		return nil, fmt.Errorf("open image %s in containers storage %s: %w", name, s.root, err)
	}
	src, err := ref.NewImageSource(ctx, &types.SystemContext{})
	if err != nil {
		return nil, fmt.Errorf("open image %s in containers storage %s: %w", name, s.root, err)
	}
	found := &storedSource{reader: reader{src: src, pinned: t.Pinned}, store: s, image: name}
	if t.Pinned == "" {
		raw, _, err := src.GetManifest(ctx, nil)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("read the manifest of image %s in containers storage %s: %w", name, s.root, err), src.Close())
		}
		found.pinned = digest.FromBytes(raw)
	}
	return found, nil
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

// Origin implements Source.
func (s *storedSource) Origin() string { return s.store.root }

// Manifest takes the pinned one of the manifests that the store keeps for an image.
func (s *storedSource) Manifest(ctx context.Context) ([]byte, error) {
	raw, err := s.Instance(ctx, s.pinned)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w %s under the digest %s; pull it by this digest first", ErrNotStored, s.store.root, s.pinned)
	}
	return raw, err
}

// Publishable is the manifest with its layers uncompressed, as skopeo would write it.
func (s *storedSource) Publishable(ctx context.Context, raw []byte) ([]byte, error) {
	if err := s.findLayers(ctx, digest.FromBytes(raw)); err != nil {
		return nil, fmt.Errorf("read layers from containers storage %s: %w", s.store.root, err)
	}
	m, err := imgmanifest.FromBlob(raw, imgmanifest.GuessMIMEType(raw))
	if err != nil {
		return nil, fmt.Errorf("parse manifest: %w", err)
	}
	if err := m.UpdateLayerInfos(s.infos); err != nil {
		return nil, fmt.Errorf("write manifest: %w", err)
	}
	return m.Serialize()
}

func (s *storedSource) findLayers(ctx context.Context, instance digest.Digest) error {
	infos, err := s.src.LayerInfosForCopy(ctx, &instance)
	if err != nil {
		return err
	}
	img, err := s.store.store.Image(s.image)
	if err != nil {
		return err
	}
	ids := make([]string, 0, len(infos)) // topmost first
	for id := img.TopLayer; id != ""; {
		layer, err := s.store.store.Layer(id)
		if err != nil {
			return err
		}
		ids = append(ids, id)
		id = layer.Parent
	}
	if len(ids) != len(infos) {
		return fmt.Errorf("image %s has %d layers, its manifest %d", s.image, len(ids), len(infos))
	}
	s.layers = make(map[digest.Digest]string, len(infos))
	for i := range infos {
		if infos[i].Size < 0 {
			return fmt.Errorf("size of layer %s is unknown", infos[i].Digest)
		}
		infos[i].CompressionOperation = types.Decompress
		s.layers[infos[i].Digest] = ids[len(ids)-1-i]
	}
	s.infos = infos
	return nil
}

// Blob starts at 0 always. Layers are streamed without the temporary file of the library's own
// reader.
func (s *storedSource) Blob(ctx context.Context, d manifest.Descriptor, _ int64) (io.ReadCloser, int64, error) {
	if layer, ok := s.layers[d.Digest]; ok {
		plain := archive.Uncompressed
		r, err := s.store.store.Diff("", layer, &storage.DiffOptions{Compression: &plain})
		if err != nil {
			return nil, 0, fmt.Errorf("read layer from containers storage %s: %w", s.store.root, err)
		}
		return storedReader{r, s.store.root}, 0, nil
	}
	r, _, err := s.src.GetBlob(ctx, types.BlobInfo{Digest: d.Digest, Size: d.Size}, none.NoCache)
	return r, 0, err
}

// storedReader says where a layer that cannot be read lies.
type storedReader struct {
	io.ReadCloser
	root string
}

func (r storedReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = fmt.Errorf("read layer from containers storage %s: %w; look with podman system check, or pull the image again", r.root, err)
	}
	return n, err
}

// Signatures of a stored image sign its compressed form: they say nothing about what comes out.
func (s *storedSource) Signatures(context.Context, digest.Digest) ([][]byte, error) { return nil, nil }

func (s *storedSource) Close() error {
	return errors.Join(s.src.Close(), s.store.Close())
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
