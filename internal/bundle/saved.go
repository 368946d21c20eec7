package bundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"osbuild-containers/internal/ctxio"
	"osbuild-containers/internal/image"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/ocilayout"
)

// saved adds images written by docker save. Their manifests are made here and name the uncompressed layers in the config, so
// the image id verifies them.
func (c *input) saved(ctx context.Context) error {
	all, err := c.tree.Saved()
	if err != nil {
		return err
	}
	layers := newLayers(c.tree)
	for _, s := range all {
		img, err := layers.image(ctx, s.Config, s.Layers)
		if err != nil {
			return fmt.Errorf("image %s: %w", s.ID, err)
		}
		img.names = c.named(s.Names)
		c.images = append(c.images, img)
	}
	return nil
}

// savedV1 adds images of docker save before 1.10. Their configs are made here.
func (c *input) savedV1(ctx context.Context) error {
	all, err := c.tree.SavedV1()
	if err != nil {
		return err
	}
	layers := newLayers(c.tree)
	for _, s := range all {
		var docs [][]byte
		var diffIDs []digest.Digest
		var tars []string
		for _, l := range s.Layers {
			d, err := layers.read(ctx, l.Tar)
			if err != nil {
				return fmt.Errorf("layer %s: %w", l.ID, err)
			}
			docs, diffIDs, tars = append(docs, l.JSON), append(diffIDs, d.Digest), append(tars, l.Tar)
		}
		config, err := image.ConfigOfV1(docs, diffIDs)
		if err != nil {
			return err
		}
		img, err := layers.image(ctx, config, tars)
		if err != nil {
			return err
		}
		img.names = c.named(s.Names)
		c.images = append(c.images, img)
	}
	return nil
}

// layers are the layers of images written by docker save.
type layers struct {
	tree  *ocilayout.Tree
	known map[place]manifest.Descriptor // layers already decompressed or hashed
	at    map[digest.Digest]string
	left  int64 // bytes that may still be read
}

// place is the position of a file in the archive; several names may share one.
type place struct {
	device, inode uint64
	offset, size  int64
}

// maxRead limits how many bytes of layers are read for their digests during an import.
const maxRead = 256 << 30

func newLayers(t *ocilayout.Tree) *layers {
	return &layers{tree: t, known: map[place]manifest.Descriptor{}, at: map[digest.Digest]string{}, left: maxRead}
}

// image returns the image with a config and the files of its layers.
func (l *layers) image(ctx context.Context, config []byte, tars []string) (*foundImage, error) {
	ids, err := manifest.DiffIDs(config)
	if err != nil {
		return nil, fmt.Errorf("its %w", err)
	}
	if len(ids) != len(tars) {
		return nil, fmt.Errorf("its config names %d layers, and the archive has %d of it", len(ids), len(tars))
	}
	all := make([]manifest.Descriptor, len(tars))
	for n, tar := range tars {
		d, err := l.describe(ctx, tar, ids[n])
		if err != nil {
			return nil, fmt.Errorf("layer %d: %w", n+1, err)
		}
		all[n] = d
	}
	img := &foundImage{made: true}
	img.id = digest.FromBytes(config)
	if img.raw, err = image.ManifestOf(manifest.Descriptor{Digest: img.id, Size: int64(len(config))}, all); err != nil {
		return nil, err
	}
	if img.m, err = parseImage(img.raw, img.id); err != nil {
		return nil, err
	}
	img.open = func(d digest.Digest) (content, error) {
		if d == img.id {
			return content{bytes: config}, nil
		}
		return l.open(l.at[d])
	}
	return img, nil
}

// describe returns the layer in a file, which must have the diff ID. An uncompressed layer is verified when it is copied; a
// compressed one is read to learn its size.
func (l *layers) describe(ctx context.Context, name string, diffID digest.Digest) (manifest.Descriptor, error) {
	c, err := l.open(name)
	if err != nil {
		return manifest.Descriptor{}, err
	}
	defer c.close()
	d := manifest.Descriptor{Digest: diffID, Size: c.Size}
	if c.packed {
		if d, err = l.readContent(ctx, name, c); err != nil {
			return d, err
		}
		if d.Digest != diffID {
			return d, manifest.Mismatch(name, d.Digest, diffID)
		}
	}
	l.at[diffID] = name
	return d, nil
}

// read reads a layer to EOF, to learn its digest and size.
func (l *layers) read(ctx context.Context, name string) (manifest.Descriptor, error) {
	c, err := l.open(name)
	if err != nil {
		return manifest.Descriptor{}, err
	}
	defer c.close()
	return l.readContent(ctx, name, c)
}

// readContent is read for an open file. It reads each place only once.
func (l *layers) readContent(ctx context.Context, name string, c content) (manifest.Descriptor, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(c.File.Fd()), &st); err != nil {
		return manifest.Descriptor{}, fmt.Errorf("%s: %w", name, err)
	}
	at := place{st.Dev, st.Ino, c.Offset, c.Size}
	if d, ok := l.known[at]; ok {
		l.at[d.Digest] = name
		return d, nil
	}
	in, err := c.plain()
	if err != nil {
		return manifest.Descriptor{}, fmt.Errorf("%s: %w", name, err)
	}
	defer in.Close()
	hash := digest.SHA256.Digester()
	limited := io.LimitReader(ctxio.Reader(ctx, in), l.left+1)
	size, err := io.CopyBuffer(hash.Hash(), struct{ io.Reader }{limited}, make([]byte, 1<<20))
	if err != nil {
		return manifest.Descriptor{}, fmt.Errorf("%s: %w", name, err)
	}
	if l.left -= size; l.left < 0 {
		return manifest.Descriptor{}, fmt.Errorf("%s: the layers have more than the limit of %d bytes", name, int64(maxRead))
	}
	d := manifest.Descriptor{Digest: hash.Digest(), Size: size}
	l.known[at], l.at[d.Digest] = d, name
	return d, nil
}

func (l *layers) open(name string) (content, error) {
	b, err := l.tree.File(name)
	if errors.Is(err, os.ErrNotExist) {
		return content{}, fmt.Errorf("%q is missing", name)
	}
	if err != nil {
		return content{}, err
	}
	packed, err := b.Compressed()
	if err != nil {
		b.Close()
	}
	return content{Blob: b, packed: packed}, err
}

// plain returns a reader of the uncompressed content.
func (c content) plain() (io.ReadCloser, error) {
	if c.packed {
		return c.Decompress()
	}
	return io.NopCloser(c.Reader()), nil
}
