package ocilayout

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/panics"
)

// Content is all that an OCI layout has, byte for byte: unlike the images of a stage, it is not put
// into OCI's words. The same content gives the same bytes: entries are sorted and no time but
// 1970 is in it. Each blob is verified while it is copied, and what has been written is on disk
// in the end.
type Content struct {
	Index     []v1.Descriptor       // what index.json names, in this order
	Documents [][]byte              // manifest lists, manifests and what else is small
	Blobs     []manifest.Descriptor // the rest
	Open      func(digest.Digest) (*os.File, error)
	Told      func(d digest.Digest, n int64) // n more bytes of a blob are written; may be nil

	resumed bool // the file that is written may have some of it
}

// sort puts documents and blobs into order, each once.
func (c *Content) sort() {
	slices.SortFunc(c.Documents, func(x, y []byte) int { return cmp.Compare(digest.FromBytes(x), digest.FromBytes(y)) })
	c.Documents = slices.CompactFunc(c.Documents, slices.Equal)
	slices.SortFunc(c.Blobs, func(x, y manifest.Descriptor) int { return cmp.Compare(x.Digest, y.Digest) })
	c.Blobs = slices.CompactFunc(c.Blobs, func(x, y manifest.Descriptor) bool { return x.Digest == y.Digest })
}

func (c *Content) index() ([]byte, error) {
	var i index
	for _, d := range c.Index {
		i.append(d)
	}
	raw := i.encode()
	if len(raw) > manifest.MaxSize {
		return nil, fmt.Errorf("index.json would be %d bytes long, the limit is %d: put less into one", len(raw), manifest.MaxSize)
	}
	return raw, nil
}

// File implements source.
func (c *Content) File(d manifest.Descriptor) (Blob, bool, error) {
	file, err := c.Open(d.Digest)
	if err != nil {
		return Blob{}, false, err
	}
	b, err := Whole(file)
	if err == nil && b.Size != d.Size {
		b.Close()
		err = manifest.SizeMismatch("blob "+d.Digest.String(), b.Size, d.Size)
	}
	return b, err == nil, err
}

// Blob implements source: all blobs are files.
func (c *Content) Blob(context.Context, manifest.Descriptor) (io.ReadCloser, error) {
	return nil, errors.ErrUnsupported
}

// flushEvery is after how many bytes the kernel is told to begin to write to disk, so that the sync in
// the end finds little to do.
const flushEvery = 8 << 20

// copy copies a blob to its place.
func (c *Content) copy(ctx context.Context, to *os.File, at int64, d manifest.Descriptor) error {
	flushed := at
	tell := func(at, n int64) {
		if end := at + n; end-flushed >= flushEvery {
			_ = unix.SyncFileRange(int(to.Fd()), flushed, end-flushed, unix.SYNC_FILE_RANGE_WRITE)
			flushed = end
		}
		if c.Told != nil {
			c.Told(d.Digest, n)
		}
	}
	if c.resumed {
		return c.complete(ctx, to, at, d, tell)
	}
	_, err := copyBlob(ctx, to, at, c, d, tell)
	return err
}

// complete is copy for a file that may have some of the blob.
func (c *Content) complete(ctx context.Context, to *os.File, at int64, d manifest.Descriptor, tell func(at, n int64)) error {
	b, _, err := c.File(d)
	if err != nil {
		return err
	}
	defer b.Close()
	hash := sha256.New()
	if err := pass(ctx, b, &Completer{File: to}, at, hash, tell); err != nil {
		return fmt.Errorf("copy blob %s: %w", d.Digest, err)
	}
	return verify(hash, d.Digest)
}

// A Completer writes to a file what is not in it yet: reading is faster than writing, and what is on disk stays there.
// It is for one goroutine.
type Completer struct {
	*os.File
	buf []byte
}

// WriteAt implements io.WriterAt.
func (w *Completer) WriteAt(p []byte, at int64) (int, error) {
	if len(w.buf) < len(p) {
		w.buf = make([]byte, len(p))
	}
	if n, _ := w.ReadAt(w.buf[:len(p)], at); n == len(p) && bytes.Equal(w.buf[:n], p) {
		return n, nil
	}
	return w.File.WriteAt(p, at)
}

// each calls one for every blob, several at a time, the largest first, so that no core idles in
// the end.
func each(ctx context.Context, blobs []manifest.Descriptor, one func(context.Context, manifest.Descriptor) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(max(2, runtime.GOMAXPROCS(0)))
	for _, d := range slices.SortedStableFunc(slices.Values(blobs), func(x, y manifest.Descriptor) int { return cmp.Compare(y.Size, x.Size) }) {
		group.Go(func() error { return panics.Catch(func() error { return one(ctx, d) }) })
	}
	return group.Wait()
}

// WriteArchive writes the content as a tar file. What the file has already, of an earlier call that was interrupted, is
// compared with what is to be there, so that only the rest is written.
func (c *Content) WriteArchive(ctx context.Context, out *os.File) error {
	c.sort()
	index, err := c.index()
	if err != nil {
		return err
	}
	info, err := out.Stat()
	if err != nil {
		return err
	}
	c.resumed = info.Size() > 0
	a := &archiveWriter{out: out, fill: c.resumed} // what is in it is from 1970, the file itself is from now
	begin(a, index, c.Documents)
	places := a.places(c.Blobs)
	if err := each(ctx, c.Blobs, func(ctx context.Context, d manifest.Descriptor) error {
		return c.copy(ctx, out, places[d.Digest], d)
	}); err != nil {
		return err
	}
	if err := a.finish(); err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	return out.Sync()
}

// WriteDir writes the content into a directory, which is empty.
func (c *Content) WriteDir(ctx context.Context, to *os.File) error {
	c.sort()
	index, err := c.index()
	if err != nil {
		return err
	}
	var epoch int64
	f := newDirWriter(to, Options{Epoch: &epoch})
	defer f.close()
	for _, dir := range []string{"blobs", "blobs/sha256"} {
		if err := f.mkdir(dir); err != nil {
			return err
		}
		if err := f.dirs[dir].Chmod(0o755); err != nil { // whatever the umask
			return fmt.Errorf("make directory %s: %w", dir, err)
		}
	}
	if err := each(ctx, c.Blobs, func(ctx context.Context, d manifest.Descriptor) error {
		return f.put(blobDir+d.Digest.Encoded(), func(file *os.File) error { return c.copy(ctx, file, 0, d) })
	}); err != nil {
		return err
	}
	for _, raw := range c.Documents {
		if err := f.write(blobDir+digest.FromBytes(raw).Encoded(), raw); err != nil {
			return err
		}
	}
	if err := errors.Join(f.write(v1.ImageLayoutFile, []byte(layoutVersion)), f.write(v1.ImageIndexFile, index), f.finish()); err != nil {
		return err
	}
	if err := unix.Syncfs(int(to.Fd())); err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	return nil
}
