// Package input reads the images that a stage is given: directories of the dir: format, OCI archives, and images of a
// containers storage. What is stored in plain files is also available as byte ranges, so that it can be cloned.
//
// Inputs are only read, and may be read-only. The config is verified; the caller must verify the layers.
//
// Layers of a containers storage are uncompressed. The manifest is rewritten to name them by their diff IDs: the image
// ID is unchanged, the manifest digest is not.
package input

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/image/storage"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/ocilayout"
	"osbuild-containers/internal/request"
)

// Input is one image of a stage's input.
type Input = request.InputImage

// Image is an open image. Its methods are safe for concurrent use, except that Close must come last.
type Image struct {
	in     Input
	files  *ocilayout.Image // nil for an image of a store
	stored *storage.Source  // nil for an image in files
	raw    []byte
	origin []byte // only for an image of a store
	m      *manifest.Manifest
}

// Open opens the image.
func Open(ctx context.Context, in Input) (*Image, error) {
	i, err := open(ctx, in)
	if err != nil {
		return nil, fmt.Errorf("image %q: %w", in.Name, err)
	}
	if id := in.ImageID(); id != "" && id != i.m.Config.Digest {
		err := fmt.Errorf("image %q: the input says that its id is %s, but it has the config %s", in.Name, id, i.m.Config.Digest)
		return nil, errors.Join(err, i.Close())
	}
	return i, nil
}

func open(ctx context.Context, in Input) (i *Image, err error) {
	i = &Image{in: in}
	switch in.Format {
	case request.FormatDir:
		i.files, err = ocilayout.OpenDir(ctx, in.Path)
	case request.FormatOCIArchive:
		i.files, err = ocilayout.OpenArchive(in.Path)
	case request.FormatContainersStorage:
		return i.openStored(ctx)
	default:
		return nil, fmt.Errorf("unknown format %q", in.Format)
	}
	if err != nil {
		return nil, err
	}
	i.raw, i.m = i.files.Raw(), i.files.Manifest()
	return i, nil
}

func (i *Image) openStored(ctx context.Context) (*Image, error) {
	src, raw, err := storage.OpenByID(ctx, i.in.Path, i.in.ImageID())
	if err != nil {
		return nil, err
	}
	i.stored, i.origin = src, raw
	if i.raw, err = src.Publishable(ctx, raw); err == nil {
		i.m, err = manifest.Parse(i.raw)
	}
	if err != nil {
		return nil, errors.Join(err, src.Close())
	}
	if bytes.Equal(i.origin, i.raw) {
		i.origin = nil
	}
	return i, nil
}

// Close closes and unmounts everything.
func (i *Image) Close() error {
	if i.stored != nil {
		return i.stored.Close()
	}
	return i.files.Close()
}

// Name returns the name to give the image, as the caller wrote it.
func (i *Image) Name() string { return i.in.Name }

// Manifest returns the manifest.
func (i *Image) Manifest() *manifest.Manifest { return i.m }

// Raw returns the manifest's bytes.
func (i *Image) Raw() []byte { return i.raw }

// Digest returns the manifest's digest.
func (i *Image) Digest() digest.Digest { return digest.FromBytes(i.raw) }

// Origin returns the manifest as stored in the containers storage, which names the layers as they were pulled. It is nil
// if it equals Raw or there is no store.
func (i *Image) Origin() []byte { return i.origin }

// Config returns the config's bytes, which have the digest in the manifest.
func (i *Image) Config(ctx context.Context) ([]byte, error) {
	d := i.m.Config
	if d.Size > manifest.MaxSize {
		return nil, i.errorf("config %s is %d bytes long, the limit is %d", d.Digest, d.Size, manifest.MaxSize)
	}
	r, err := i.Blob(ctx, d)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	raw, err := io.ReadAll(io.LimitReader(r, d.Size+1))
	if err != nil {
		return nil, i.errorf("read config %s: %w", d.Digest, err)
	}
	if got := digest.FromBytes(raw); got != d.Digest {
		return nil, i.errorf("%w", manifest.Mismatch("config", got, d.Digest))
	}
	return raw, nil
}

// Layer opens layer n, counted from 0, the lowest. The bytes are those that the manifest names, unless a containers
// storage cannot restore them: then they are an archive of the same entries with another digest, and rewritten is called
// as described at storage.Expander. Blob fails for such a layer.
func (i *Image) Layer(ctx context.Context, n int, rewritten func(name string)) (io.ReadCloser, error) {
	r, err := i.Blob(ctx, i.m.Layers[n])
	if e, ok := r.(storage.Expander); ok {
		e.Expand(rewritten)
	}
	return r, err
}

// Blob opens a blob named by the manifest.
func (i *Image) Blob(ctx context.Context, d manifest.Descriptor) (io.ReadCloser, error) {
	if i.stored != nil {
		r, _, err := i.stored.Blob(ctx, d, 0)
		if err != nil {
			return nil, i.errorf("open blob %s: %w", d.Digest, err)
		}
		return r, nil
	}
	b, err := i.files.Blob(d)
	if err != nil {
		return nil, i.errorf("%w", err)
	}
	return io.NopCloser(b.Reader()), nil
}

// File returns the byte range of a blob. ok is false if no file contains it.
func (i *Image) File(d manifest.Descriptor) (b ocilayout.Blob, ok bool, err error) {
	if i.stored != nil {
		return ocilayout.Blob{}, false, nil
	}
	if b, err = i.files.Blob(d); err != nil {
		return ocilayout.Blob{}, false, i.errorf("%w", err)
	}
	return b, true, nil
}

// Signatures returns the signatures in the format of the dir: transport. Images of a store have none, since theirs sign
// the compressed layers.
func (i *Image) Signatures() [][]byte {
	if i.stored != nil {
		return nil
	}
	return i.files.Signatures()
}

// errorf returns an error that names the image.
func (i *Image) errorf(format string, args ...any) error {
	return fmt.Errorf("image %q: %w", i.in.Name, fmt.Errorf(format, args...))
}
