package ocilayout

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/manifest"
)

// Image is an open image. Its methods are safe for concurrent use, except that Close must come last.
type Image struct {
	raw  []byte
	m    *manifest.Manifest
	from container
	sigs [][]byte
}

// A Blob is a byte range of an open file.
type Blob struct {
	File   *os.File // read it with ReadAt; closed by the image
	Offset int64
	Size   int64 // bytes
	Whole  bool  // the blob is the whole file

	own bool // the file was opened for this blob only
}

// wholeFile returns a regular file as a blob. It closes any other file.
func wholeFile(file *os.File) (Blob, error) {
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", file.Name())
	}
	if err != nil {
		return Blob{}, errors.Join(err, file.Close())
	}
	return Blob{File: file, Size: info.Size(), Whole: true, own: true}, nil
}

// Close closes the file if it was opened for this blob only.
func (b Blob) Close() {
	if b.own {
		b.File.Close()
	}
}

// Reader returns a reader of the blob.
func (b Blob) Reader() *io.SectionReader { return io.NewSectionReader(b.File, b.Offset, b.Size) }

// container is the directory or archive that contains an image.
type container interface {
	// open opens a blob. The error is fs.ErrNotExist if it does not exist.
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

// Blob opens a blob of the manifest, and checks its size.
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

// read reads a whole document. Unless want is empty, it must have that digest.
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
