package image

import (
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

	"osbuild-containers/internal/manifest"
)

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
// reader; their readers are Expanders.
func (s *storedSource) Blob(ctx context.Context, d manifest.Descriptor, _ int64) (io.ReadCloser, int64, error) {
	if layer, ok := s.layers[d.Digest]; ok {
		plain := archive.Uncompressed
		r, err := s.store.store.Diff("", layer, &storage.DiffOptions{Compression: &plain})
		if err != nil {
			return nil, 0, fmt.Errorf("read layer from containers storage %s: %w", s.store.root, err)
		}
		return newSparseReader(storedReader{r, s.store.root}, func() (io.ReadCloser, error) { return s.store.split(layer) }), 0, nil
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
		err = Local(fmt.Errorf("read layer from containers storage %s: %w; look with podman system check, or pull the image again", r.root, err))
	}
	return n, err
}

func (s *storedSource) Close() error {
	return errors.Join(s.src.Close(), s.store.Close())
}

// Elsewhere implements Source: there is one store.
func (s *storedSource) Elsewhere(Part, digest.Digest) bool { return false }
