package storage

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	imgmanifest "github.com/containers/image/v5/manifest"
	"github.com/containers/image/v5/pkg/blobinfocache/none"
	istorage "github.com/containers/image/v5/storage"
	"github.com/containers/image/v5/types"
	"github.com/containers/storage"
	"github.com/containers/storage/pkg/archive"
	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/image/library"
	"osbuild-containers/internal/manifest"
)

// Wanted selects an image of a containers storage: by its id, or else by the digest of its manifest or index, or else by
// its name and tag.
type Wanted struct {
	Name       string
	ID, Pinned digest.Digest
}

// Source is an open image of a containers storage. Layers are stored unpacked and read as uncompressed tar streams with
// the diff IDs in the config as digests. Its methods are safe for concurrent use, except that Close must come last.
type Source struct {
	src    types.ImageSource
	pinned digest.Digest
	store  *Store
	image  string
	layers map[digest.Digest]string // uncompressed digest to layer id
	infos  []types.BlobInfo         // lowest first
}

// Open opens an image in the store at location (a graph root), or in the default store of storage.conf.
func Open(ctx context.Context, location string, w Wanted) (*Source, error) {
	st, err := OpenStore(location)
	if err != nil {
		return nil, Mark(err)
	}
	s, err := st.open(ctx, w)
	if err != nil {
		return nil, Mark(errors.Join(err, st.Close()))
	}
	return s, nil
}

func (s *Store) open(ctx context.Context, w Wanted) (*Source, error) {
	name, err := s.find(w)
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
	found := &Source{src: src, pinned: w.Pinned, store: s, image: name}
	if w.Pinned == "" {
		raw, _, err := src.GetManifest(ctx, nil)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("read the manifest of image %s in containers storage %s: %w", name, s.root, err), src.Close())
		}
		found.pinned = digest.FromBytes(raw)
	}
	return found, nil
}

// OpenByID opens the image with that id in the store at location (a graph root), whatever its manifest digest: the id is
// the config digest, which pins the layers too. It returns the stored manifest; Publishable converts it to one that names
// the uncompressed layers.
func OpenByID(ctx context.Context, location string, id digest.Digest) (*Source, []byte, error) {
	s, err := Open(ctx, location, Wanted{ID: id})
	if err != nil {
		return nil, nil, err
	}
	raw, _, err := s.src.GetManifest(ctx, nil)
	if err != nil {
		err = fmt.Errorf("read the manifest of image %s in containers storage %s: %w", id, s.store.root, err)
		return nil, nil, Mark(errors.Join(err, s.Close()))
	}
	return s, raw, nil
}

// Origin returns the graph root.
func (s *Source) Origin() string { return s.store.root }

// Manifest returns the manifest with digest d, named by an index, or the pinned one if d is empty; the store may have
// several for an image.
func (s *Source) Manifest(ctx context.Context, d digest.Digest) ([]byte, error) {
	raw, err := s.instance(ctx, cmp.Or(d, s.pinned))
	if d == "" && errors.Is(err, os.ErrNotExist) {
		err = fmt.Errorf("%w %s under the digest %s; pull it by this digest first", ErrNotStored, s.store.root, s.pinned)
	}
	return raw, Mark(err)
}

// errSchema1 is returned for an image stored with a manifest of Docker's schema 1. The store has neither its config nor
// the layers named by the manifest.
var errSchema1 = hint.Add(errors.New("the image is stored with a manifest of Docker's schema 1, which is read from registries and directories only"),
	"pull it from the registry by its digest, or copy it to a directory with skopeo copy --format v2s2")

func (s *Source) instance(ctx context.Context, d digest.Digest) ([]byte, error) {
	raw, _, err := s.src.GetManifest(ctx, &d)
	if err != nil {
		return nil, err
	}
	if manifest.IsSchema1(raw) {
		return nil, errSchema1
	}
	if got := digest.FromBytes(raw); got != d {
		return nil, manifest.Mismatch("manifest", got, d)
	}
	return raw, nil
}

// Signatures returns the signatures of a manifest of the image, in the format of the dir: transport.
func (s *Source) Signatures(ctx context.Context, d digest.Digest) ([][]byte, error) {
	sigs, err := library.Signatures(ctx, s.src, d)
	return sigs, Mark(err)
}

// Publishable returns the manifest with its layers uncompressed, as skopeo would write it.
func (s *Source) Publishable(ctx context.Context, raw []byte) ([]byte, error) {
	if manifest.IsSchema1(raw) {
		return nil, errSchema1
	}
	if err := s.findLayers(ctx, digest.FromBytes(raw)); err != nil {
		return nil, Mark(fmt.Errorf("read layers from containers storage %s: %w", s.store.root, err))
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

func (s *Source) findLayers(ctx context.Context, instance digest.Digest) error {
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

// Blob always starts at 0. It streams layers, without the temporary file of the library's own reader; readers of layers
// are Expanders.
func (s *Source) Blob(ctx context.Context, d manifest.Descriptor, _ int64) (io.ReadCloser, int64, error) {
	if layer, ok := s.layers[d.Digest]; ok {
		plain := archive.Uncompressed
		r, err := s.store.store.Diff("", layer, &storage.DiffOptions{Compression: &plain})
		if err != nil {
			return nil, 0, Mark(fmt.Errorf("read layer from containers storage %s: %w", s.store.root, err))
		}
		return newSparseReader(storedReader{r, s.store.root}, func() (io.ReadCloser, error) { return s.store.split(layer) }), 0, nil
	}
	r, _, err := s.src.GetBlob(ctx, types.BlobInfo{Digest: d.Digest, Size: d.Size}, none.NoCache)
	return r, 0, Mark(err)
}

// storedReader names the store in errors of a layer.
type storedReader struct {
	io.ReadCloser
	root string
}

func (r storedReader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = unreadable(fmt.Errorf("read layer from containers storage %s: %w", r.root, err))
	}
	return n, err
}

// Close closes the image and its store.
func (s *Source) Close() error {
	return errors.Join(s.src.Close(), s.store.Close())
}
