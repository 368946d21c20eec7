package pack

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/ctxio"
)

// A Packed describes a packed layer.
type Packed struct {
	Digest    digest.Digest // of the compressed layer
	Size      int64         // of the compressed layer, in bytes
	DiffID    digest.Digest
	MediaType string
	Newest    time.Time // latest time of an entry
	Entries   int
}

// Tree packs the directory at path as a layer into w. Unless epoch is nil, later times of files become epoch.
func Tree(ctx context.Context, w io.Writer, path string, epoch *time.Time, logf Logf) (*Packed, error) {
	return packed(w, func(z io.Writer) (entries int, newest time.Time, err error) {
		p := packer{logf: logf, label: path}
		t := &treeWriter{ctx: ctx, epoch: epoch, note: p.note}
		err = t.write(z, path)
		return t.entries, t.newest, err
	})
}

// Tar packs a tar archive as a layer into w, byte for byte. It refuses an archive that is truncated, is followed by other data,
// or contains images.
func Tar(ctx context.Context, w io.Writer, r io.Reader) (*Packed, error) {
	return packed(w, func(z io.Writer) (entries int, newest time.Time, err error) {
		return readTar(io.TeeReader(ctxio.Reader(ctx, r), z))
	})
}

func packed(w io.Writer, write func(z io.Writer) (entries int, newest time.Time, err error)) (*Packed, error) {
	var c Compression
	out, diff := &counter{w: w, hash: digest.SHA256.Digester()}, sha256.New()
	z, err := compress(out, diff, c)
	if err != nil {
		return nil, err
	}
	entries, newest, err := write(z)
	if e := z.Close(); err == nil {
		err = e
	}
	if err != nil {
		return nil, err
	}
	return &Packed{
		Digest: out.hash.Digest(), Size: out.n, DiffID: digest.NewDigest(digest.SHA256, diff),
		MediaType: c.mediaType(), Newest: newest, Entries: entries,
	}, nil
}

// counter counts and hashes its input.
type counter struct {
	w    io.Writer
	hash digest.Digester
	n    int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	_, _ = c.hash.Hash().Write(p[:n]) // a hash does not fail
	c.n += int64(n)
	return n, err
}

var (
	errNoFiles = errors.New("the archive has no files")
	errNoEnd   = errors.New("the archive has no end: it is cut off")
	errAfter   = errors.New("there is data after the end of the archive")
	// ErrImages reports an archive or directory of images rather than a root file system.
	ErrImages = errors.New("it has images, and is not a root file system")
)

// readTar reads a tar archive to EOF.
func readTar(r io.Reader) (entries int, newest time.Time, err error) {
	end := &zeros{r: r}
	tr := tar.NewReader(end)
	names := map[string]bool{}
	for {
		hdr, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return 0, newest, tarError(err, entries)
		}
		if hdr.ModTime.After(newest) {
			newest = hdr.ModTime
		}
		if name := path.Clean("/" + hdr.Name)[1:]; slices.Contains(filesOfImages, name) {
			names[name] = true
		}
		entries++
	}
	end.other = false
	if _, err := io.Copy(io.Discard, end); err != nil {
		return 0, newest, err
	}
	switch {
	case entries == 0:
		return 0, newest, errNoFiles
	case end.other:
		return 0, newest, errAfter
	case end.n < blockSize:
		return 0, newest, errNoEnd
	}
	return entries, newest, imagesIn(func(name string) bool { return names[name] })
}

// zeros counts the zeros at the end of its input.
type zeros struct {
	r     io.Reader
	n     int64
	other bool // something other than zeros was read
}

func (z *zeros) Read(p []byte) (int, error) {
	n, err := z.r.Read(p)
	rest := bytes.TrimRight(p[:n], "\x00")
	if len(rest) > 0 {
		z.n, z.other = 0, true
	}
	z.n += int64(n - len(rest))
	return n, err
}

// tarError words an error of reading an archive.
func tarError(err error, entries int) error {
	switch {
	case errors.Is(err, tar.ErrHeader) && entries == 0:
		return errors.New("not a tar archive")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("the archive is cut off: %w", err)
	}
	return fmt.Errorf("read the archive: %w", err)
}

// NoImages returns ErrImages if the directory contains images.
func NoImages(dir string) error {
	return imagesIn(func(name string) bool {
		_, err := os.Lstat(filepath.Join(dir, name))
		return err == nil
	})
}

// filesOfImages are files that identify archives and directories of images.
var filesOfImages = []string{"oci-layout", "index.json", "manifest.json", "repositories", "version"}

// imagesIn returns ErrImages if one of filesOfImages exists.
func imagesIn(has func(name string) bool) error {
	if has("oci-layout") && has("index.json") || has("manifest.json") && (has("repositories") || has("version")) {
		return ErrImages
	}
	return nil
}
