package ocilayout

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"osbuild-containers/internal/manifest"
)

const block = 512 // block size of a tar file, in bytes

// archiveWriter is a tar file. All sizes are known in advance, so blobs can be written in any order.
type archiveWriter struct {
	opt Options
	out *os.File
	end int64 // offset of the next entry
	err error // first error

	fill bool // the file may have old data where zeros belong
}

// header writes an entry's header and returns the offset of its content.
func (a *archiveWriter) header(kind byte, name string, mode, size int64) int64 {
	t, _ := a.opt.time()
	header, err := tarHeader(kind, name, mode, size, t)
	if err == nil {
		_, err = a.out.WriteAt(header, a.end)
	}
	a.err = cmp.Or(a.err, err)
	at := a.end + int64(len(header))
	a.end = at + padded(size)
	if rest := a.end - at - size; a.fill && rest > 0 {
		_, err := a.out.WriteAt(make([]byte, rest), at+size)
		a.err = cmp.Or(a.err, err)
	}
	return at
}

func tarHeader(kind byte, name string, mode, size int64, t time.Time) ([]byte, error) {
	var b bytes.Buffer
	err := tar.NewWriter(&b).WriteHeader(&tar.Header{
		Typeflag: kind, Name: name, Mode: mode, Size: size, ModTime: t,
	})
	return b.Bytes(), err
}

// tarWriter writes the entries of an archive in order.
type tarWriter interface {
	// header starts an entry and returns the offset of its content.
	header(kind byte, name string, mode, size int64) int64
	// file writes a whole entry.
	file(name string, content []byte)
}

// begin writes all entries of an archive except large blobs.
func begin(w tarWriter, index []byte, documents [][]byte) {
	w.file(v1.ImageLayoutFile, []byte(layoutVersion))
	w.file(v1.ImageIndexFile, index)
	w.header(tar.TypeDir, "blobs/", 0o755, 0)
	w.header(tar.TypeDir, blobDir, 0o755, 0)
	for _, raw := range documents {
		w.file(blobDir+digest.FromBytes(raw).Encoded(), raw)
	}
}

// padded returns the size of content in a tar file, with padding.
func padded(size int64) int64 { return (size + block - 1) / block * block }

func (a *archiveWriter) file(name string, content []byte) {
	at := a.header(tar.TypeReg, name, 0o644, int64(len(content)))
	_, err := a.out.WriteAt(content, at)
	a.err = cmp.Or(a.err, err)
}

// blobs writes the image's blobs, sorted by digest.
func (a *archiveWriter) blobs(ctx context.Context, img Item) error {
	blobs := img.Manifest().Blobs()
	slices.SortFunc(blobs, func(x, y manifest.Descriptor) int { return cmp.Compare(x.Digest, y.Digest) })
	places := a.places(blobs)
	return each(ctx, blobs, func(ctx context.Context, d manifest.Descriptor) error {
		began := time.Now()
		how, err := copyBlob(ctx, a.out, places[d.Digest], img, d, nil)
		if err == nil {
			a.opt.told(img, d, how, began)
		}
		return err
	})
}

// places writes a header for each blob, and returns the offsets of their contents.
func (a *archiveWriter) places(blobs []manifest.Descriptor) map[digest.Digest]int64 {
	places := make(map[digest.Digest]int64, len(blobs))
	for _, d := range blobs {
		places[d.Digest] = a.header(tar.TypeReg, blobDir+d.Digest.Encoded(), 0o644, d.Size)
	}
	return places
}

// sizeOf returns the size of an archive whose last entry ends at end: two empty blocks follow, and padding to a full
// record, like tar.
func sizeOf(end int64) int64 {
	const record = 20 * block
	return (end + 2*block + record - 1) / record * record
}

// finish completes the archive.
func (a *archiveWriter) finish() error {
	if a.fill {
		a.err = cmp.Or(a.err, a.out.Truncate(a.end))
	}
	return errors.Join(a.err, a.out.Truncate(sizeOf(a.end)), a.out.Chmod(0o644))
}
