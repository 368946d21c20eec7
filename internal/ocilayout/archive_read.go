package ocilayout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"osbuild-containers/internal/layer"
)

const (
	maxEntries = 100_000 // entries in an archive, far more than images have blobs
	maxLinks   = 16      // links to follow in a row
	tarBlock   = 512     // padding of contents, in bytes
)

// archiveReader is an OCI layout in a tar file, with the offsets of its files.
type archiveReader struct {
	file  *os.File
	index map[string]span
	ended bool // the archive has its end mark, zeros after the last entry
}

// span is a file in the archive.
type span struct{ offset, size int64 }

// OpenArchive opens the image in the OCI archive at path, compressed or not. It refuses an archive of several images.
func OpenArchive(name string) (*Image, error) {
	file, err := os.OpenFile(name, unix.O_RDONLY|unix.O_NONBLOCK, 0) // do not block on a FIFO
	if err != nil {
		return nil, fmt.Errorf("open OCI archive: %w", err)
	}
	img, err := openArchive(file)
	if err != nil {
		return nil, fmt.Errorf("OCI archive %s: %w", name, err)
	}
	return img, nil
}

// openArchive takes ownership of the file.
func openArchive(file *os.File) (*Image, error) {
	plain, err := decompressed(context.Background(), file)
	if err != nil {
		return nil, errors.Join(cutOff(err), file.Close())
	}
	a := &archiveReader{file: plain}
	img, err := a.image()
	if err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return img, nil
}

func (a *archiveReader) image() (*Image, error) {
	if err := a.read(); err != nil {
		return nil, cutOff(err)
	}
	if _, ok := a.index[v1.ImageLayoutFile]; !ok {
		return nil, errors.New("there is no oci-layout in it: this is not an OCI archive")
	}
	found, err := a.choose()
	if err != nil {
		return nil, err
	}
	return &Image{raw: found.Raw, m: found.Manifest, from: a}, nil
}

// read records where the files are. It skips their contents.
func (a *archiveReader) read() error {
	info, err := a.file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return errors.New("not a regular file")
	}
	a.index = map[string]span{}
	links := map[string]string{}
	// Sizes are bounded by the archive: an entry that declares more is cut off.
	entries := layer.NewReader(a.file, layer.NewTally(layer.Limits{LayerBytes: 1 << 61, Entries: maxEntries}))
	end := int64(0)
	for {
		e, err := entries.Next()
		if err == io.EOF {
			break
		}
		if end == 0 && errors.Is(err, layer.ErrCutOff) { // possibly not even a header
			return errors.New("not a tar archive")
		}
		if err != nil {
			return fmt.Errorf("read archive: %w", err)
		}
		offset, err := a.file.Seek(0, io.SeekCurrent)
		if err != nil {
			return err
		}
		end = offset
		name := clean(e.Name)
		switch e.Type {
		case layer.File:
			if e.Sparse {
				return fmt.Errorf("%q in it is sparse", e.Name)
			}
			if left := info.Size() - offset; e.Size > left {
				return fmt.Errorf("the archive is cut off: it ends after %d of %d bytes of %q", left, e.Size, e.Name)
			}
			end += (e.Size + tarBlock - 1) / tarBlock * tarBlock
			a.index[name] = span{offset, e.Size}
			delete(links, name)
		case layer.Hardlink:
			links[name] = clean(e.Link)
		case layer.Symlink:
			links[name] = clean(path.Dir(e.Name) + "/" + e.Link)
		}
	}
	a.ended = info.Size() > end
	found := map[string]span{}
	for name, to := range links {
		for n := 0; n < maxLinks && links[to] != ""; n++ {
			to = links[to]
		}
		if s, ok := a.index[to]; ok {
			found[name] = s
		}
	}
	maps.Copy(a.index, found)
	return nil
}

// clean returns the path in the layout, without a leading ./ or /.
func clean(name string) string {
	return strings.TrimPrefix(path.Clean("/"+name), "/")
}

func (a *archiveReader) blob(name string) (Blob, error) {
	s, ok := a.index[name]
	if !ok {
		return Blob{}, os.ErrNotExist
	}
	return Blob{File: a.file, Offset: s.offset, Size: s.size}, nil
}

func (a *archiveReader) open(d digest.Digest) (Blob, error) {
	return a.blob(BlobName(d))
}

// Close closes the archive.
func (a *archiveReader) Close() error { return a.file.Close() }
