package ocilayout

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"osbuild-containers/internal/atomicfile"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/panics"
)

// Content is the complete content of an OCI layout, written byte for byte: unlike images from a stage, nothing is converted
// to OCI media types. Equal content gives equal bytes: entries are sorted and all times are 1970. Each blob is verified while
// it is copied, and everything is synced at the end.
type Content struct {
	Index     []v1.Descriptor       // entries of index.json, in order
	Documents [][]byte              // manifest lists, manifests and other small blobs
	Blobs     []manifest.Descriptor // all other blobs
	Open      func(digest.Digest) (*os.File, error)
	Told      func(d digest.Digest, n int64) // called after n more bytes of a blob; may be nil
}

// sort sorts documents and blobs, and removes duplicates.
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

// File implements blobSource.
func (c *Content) File(d manifest.Descriptor) (Blob, bool, error) {
	file, err := c.Open(d.Digest)
	if err != nil {
		return Blob{}, false, err
	}
	b, err := wholeFile(file)
	if err == nil && b.Size != d.Size {
		b.Close()
		err = manifest.SizeMismatch("blob "+d.Digest.String(), b.Size, d.Size)
	}
	return b, err == nil, err
}

// Blob implements blobSource. It is never called, since all blobs are files.
func (c *Content) Blob(context.Context, manifest.Descriptor) (io.ReadCloser, error) {
	return nil, errors.ErrUnsupported
}

// flushEvery is the number of bytes after which the kernel is told to start writing to disk, so that the final sync is
// short.
const flushEvery = 8 << 20

// copy copies a blob to its offset. If resumed, the file may contain data of an earlier attempt.
func (c *Content) copy(ctx context.Context, to *os.File, at int64, d manifest.Descriptor, resumed bool) error {
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
	if resumed {
		return c.complete(ctx, to, at, d, tell)
	}
	_, err := copyBlob(ctx, to, at, c, d, tell)
	return err
}

// complete is copy for a file that may contain part of the blob.
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

// A Completer writes only what a file does not already contain: reading is faster than writing. It is for one goroutine.
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

// each calls one for every blob, several in parallel, the largest first so that no core idles at the end.
func each(ctx context.Context, blobs []manifest.Descriptor, one func(context.Context, manifest.Descriptor) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(max(2, runtime.GOMAXPROCS(0)))
	for _, d := range slices.SortedStableFunc(slices.Values(blobs), func(x, y manifest.Descriptor) int { return cmp.Compare(y.Size, x.Size) }) {
		group.Go(func() error { return panics.Catch(func() error { return one(ctx, d) }) })
	}
	return group.Wait()
}

// WriteArchive writes the content as a tar file. The file may contain data of an interrupted call: it is compared, and only
// what differs is written.
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
	resumed := info.Size() > 0
	a := &archiveWriter{out: out, fill: resumed} // times within it are 1970, the file's own is now
	begin(a, index, c.Documents)
	places := a.places(c.Blobs)
	if err := each(ctx, c.Blobs, func(ctx context.Context, d manifest.Descriptor) error {
		return c.copy(ctx, out, places[d.Digest], d, resumed)
	}); err != nil {
		return err
	}
	if err := a.finish(); err != nil {
		return fmt.Errorf("write archive: %w", err)
	}
	return out.Sync()
}

// WriteDir writes the content to a directory, which may contain data of an interrupted call: blobs of this content are compared,
// and only what differs is written; everything else is removed. No other process may write to the directory. If ctx is done, what
// was written of the blobs is kept.
func (c *Content) WriteDir(ctx context.Context, to *os.File) error {
	c.sort()
	index, err := c.index()
	if err != nil {
		return err
	}
	if err := c.clear(to); err != nil {
		return err
	}
	var epoch int64
	f := newDirWriter(to, Options{Epoch: &epoch})
	defer f.close()
	for _, dir := range []string{"blobs", "blobs/sha256"} {
		if err := f.mkdir(dir); err != nil {
			return err
		}
		if err := f.dirs[dir].Chmod(0o755); err != nil { // independent of the umask
			return fmt.Errorf("make directory %s: %w", dir, err)
		}
	}
	if err := each(ctx, c.Blobs, func(ctx context.Context, d manifest.Descriptor) error {
		return c.blob(ctx, f.dirs["blobs/sha256"], d)
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

// clear removes everything from the directory except files with the name of a blob, and the directories they are in.
func (c *Content) clear(dir *os.File) error {
	wanted := map[string]fs.FileMode{".": fs.ModeDir, "blobs": fs.ModeDir, "blobs/sha256": fs.ModeDir}
	for _, d := range c.Blobs {
		wanted[BlobName(d.Digest)] = 0 // a regular file
	}
	root, err := os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", dir.Fd()))
	if err != nil {
		return err
	}
	defer root.Close()
	return fs.WalkDir(root.FS(), ".", func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if kind, ok := wanted[name]; ok && kind == e.Type() {
			return nil
		}
		if err := root.RemoveAll(name); err != nil || !e.IsDir() {
			return err
		}
		return fs.SkipDir
	})
}

// blob writes a blob to a directory that has been cleared. It has its name from the beginning, so that it is kept.
func (c *Content) blob(ctx context.Context, in *os.File, d manifest.Descriptor) error {
	name := d.Digest.Encoded()
	file, err := atomicfile.Resume(in, name, name)
	if errors.Is(err, atomicfile.ErrForeign) { // replace it
		file, err = atomicfile.CreateIn(in, name)
	}
	if err != nil {
		return fmt.Errorf("create %s: %w", name, err)
	}
	defer file.Discard()
	err = c.fill(ctx, file.File, d)
	if err == nil {
		err = file.Commit()
	}
	if err != nil && ctx.Err() != nil {
		err = errors.Join(err, file.Keep())
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// fill completes the file of a blob.
func (c *Content) fill(ctx context.Context, file *os.File, d manifest.Descriptor) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if err := c.copy(ctx, file, 0, d, info.Size() > 0); err != nil {
		return err
	}
	if err := file.Truncate(d.Size); err != nil {
		return err
	}
	if err := file.Chmod(0o644); err != nil {
		return err
	}
	return setTime(file, time.Unix(0, 0))
}
