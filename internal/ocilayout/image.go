package ocilayout

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/manifest"
)

// Image is an open image. Its methods may be called at the same time; Close comes last.
type Image struct {
	raw  []byte
	m    *manifest.Manifest
	from container
	sigs [][]byte
}

// A Blob is a byte range of an open file.
type Blob struct {
	File   *os.File // to be read with ReadAt; closed by the image
	Offset int64
	Size   int64 // bytes
	Whole  bool  // the file is the blob, and nothing else

	own bool // the file was opened for the blob alone
}

// Whole returns the blob that an open file is. It closes the file if that is not a regular one.
func Whole(file *os.File) (Blob, error) {
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", file.Name())
	}
	if err != nil {
		return Blob{}, errors.Join(err, file.Close())
	}
	return Blob{File: file, Size: info.Size(), Whole: true, own: true}, nil
}

// Close closes the file if it was opened for the blob alone.
func (b Blob) Close() {
	if b.own {
		b.File.Close()
	}
}

// Reader reads the blob from its beginning.
func (b Blob) Reader() *io.SectionReader { return io.NewSectionReader(b.File, b.Offset, b.Size) }

// container is the directory or archive of an image.
type container interface {
	// open opens a blob. The error is fs.ErrNotExist when it is not there.
	open(d digest.Digest) (Blob, error)
	io.Closer
}

// Raw returns the manifest's bytes.
func (i *Image) Raw() []byte { return i.raw }

// Manifest returns the manifest.
func (i *Image) Manifest() *manifest.Manifest { return i.m }

// Signatures returns the signatures, in the format of the dir: transport.
func (i *Image) Signatures() [][]byte { return i.sigs }

// Close closes all the image's files.
func (i *Image) Close() error { return i.from.Close() }

// Blob opens one of the manifest's blobs. It has the size that the manifest says.
func (i *Image) Blob(d manifest.Descriptor) (Blob, error) {
	b, err := i.from.open(d.Digest)
	if errors.Is(err, os.ErrNotExist) {
		return Blob{}, fmt.Errorf("blob %s is missing", d.Digest)
	}
	if err != nil {
		return Blob{}, fmt.Errorf("open blob %s: %w", d.Digest, err)
	}
	if b.Size != d.Size {
		return Blob{}, manifest.SizeMismatch("blob "+d.Digest.String(), b.Size, d.Size)
	}
	return b, nil
}

// read reads a whole document, which has to have that digest unless it is empty.
func read(b Blob, want digest.Digest) ([]byte, error) {
	if b.Size > manifest.MaxSize {
		return nil, fmt.Errorf("%d bytes long, the limit is %d", b.Size, manifest.MaxSize)
	}
	raw := make([]byte, b.Size)
	if _, err := io.ReadFull(b.Reader(), raw); err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	if want == "" {
		return raw, nil
	}
	if got := digest.FromBytes(raw); got != want {
		return nil, manifest.Mismatch("", got, want)
	}
	return raw, nil
}
