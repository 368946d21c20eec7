package bundle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/compression"
	"osbuild-containers/internal/ctxio"
	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/ocilayout"
	"osbuild-containers/internal/pack"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/scratch"
)

// A Rootfs is a root file system to import as an image with one layer. The same archive, however it is compressed, or the
// same directory gives the same image.
type Rootfs struct {
	Path   string    // tar archive or directory; "" for Stdin
	Stdin  io.Reader // tar archive, possibly compressed
	Name   string    // full name of the image, with a tag
	Config v1.Image  // rootfs, history and creation time are overwritten
	Epoch  *time.Time
}

// ImportRootfs imports a root file system, via a temporary file. The image's creation time is Epoch or, if not set, the latest
// time of a file.
func ImportRootfs(ctx context.Context, c *cache.Cache, r Rootfs, o ImportOptions, log *progress.Reporter) (*Imported, error) {
	file, err := scratch.NewFile()
	if err != nil {
		return nil, err
	}
	defer file.Close()
	path, packed, err := r.pack(ctx, file, log)
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if _, ok := errors.AsType[*scratch.FileError](err); ok {
		return nil, err
	}
	if err != nil {
		if errors.Is(err, pack.ErrImages) {
			err = hint.Add(err, "leave out --rootfs")
		}
		if path == stdin {
			path = "standard input"
		}
		return nil, &RefusedError{fmt.Errorf("%s: %w", path, err)}
	}
	img, err := r.image(file.File, packed)
	if err != nil {
		return nil, &RefusedError{err}
	}
	return importFrom(ctx, c, &input{path: path, format: formatTarball, images: []*foundImage{img}}, o, log)
}

// pack packs the layer into w. path is its source, for messages and records.
func (r Rootfs) pack(ctx context.Context, w io.Writer, log *progress.Reporter) (path string, packed *pack.Packed, err error) {
	if r.Path == "" {
		packed, err = packTar(ctx, w, r.Stdin)
		return stdin, packed, err
	}
	if path, err = filepath.Abs(r.Path); err != nil {
		return r.Path, nil, err
	}
	fi, err := os.Stat(path)
	if err != nil {
		return path, nil, errors.Unwrap(err)
	}
	if fi.IsDir() {
		if err := pack.NoImages(path); err != nil {
			return path, nil, err
		}
		packed, err = pack.Tree(ctx, w, path, r.Epoch, log.Note)
		return path, packed, err
	}
	f, err := os.Open(path)
	if err != nil {
		return path, nil, errors.Unwrap(err)
	}
	defer f.Close()
	packed, err = packTar(ctx, w, f)
	return path, packed, err
}

// packTar packs a tar archive, possibly compressed.
func packTar(ctx context.Context, w io.Writer, r io.Reader) (*pack.Packed, error) {
	plain, err := compression.Plain(ctxio.Reader(ctx, r))
	if err != nil {
		return nil, err
	}
	defer plain.Close()
	return pack.Tar(ctx, w, plain)
}

// image makes the config and manifest of an image from its layer.
func (r Rootfs) image(file *os.File, packed *pack.Packed) (*foundImage, error) {
	created := packed.Newest.UTC().Truncate(time.Second)
	if r.Epoch != nil {
		created = *r.Epoch
	}
	if created.Before(time.Unix(0, 0)) {
		created = time.Unix(0, 0).UTC()
	}
	config := r.Config
	config.Created = &created
	config.RootFS = v1.RootFS{Type: "layers", DiffIDs: []digest.Digest{packed.DiffID}}
	config.History = []v1.History{{Created: &created, CreatedBy: "osbuild-containers import --rootfs"}}
	text, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	id := digest.FromBytes(text)
	raw, err := json.Marshal(v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2},
		MediaType: v1.MediaTypeImageManifest,
		Config:    v1.Descriptor{MediaType: v1.MediaTypeImageConfig, Digest: id, Size: int64(len(text))},
		Layers:    []v1.Descriptor{{MediaType: packed.MediaType, Digest: packed.Digest, Size: packed.Size}},
	})
	if err != nil {
		return nil, err
	}
	m, err := manifest.Parse(raw)
	if err != nil {
		return nil, err
	}
	return &foundImage{
		id: id, names: []string{r.Name}, raw: raw, m: m,
		open: func(d digest.Digest) (content, error) {
			if d == id {
				return content{bytes: text}, nil
			}
			return content{Blob: ocilayout.Blob{File: file, Size: packed.Size}}, nil
		},
	}, nil
}
