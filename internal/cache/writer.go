package cache

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// bufferSize is the unit of reading and writing blobs, in bytes; a writer has one buffer.
const bufferSize = 256 << 10

// flushEvery is after how many bytes the kernel is told to start writing to disk, so that
// the sync at the end finds little to do.
const flushEvery = 8 << 20

// Errors of a blob that is not what its descriptor says.
var (
	ErrDigest = errors.New("digest mismatch")
	ErrSize   = errors.New("size mismatch")
)

// Writer writes one blob into the pool. Until Commit succeeds nothing is visible under the
// blob's name; what was written stays, unless Reset, for whoever acquires the blob next.
type Writer struct {
	pool    *Pool
	f       *os.File
	name    string
	digest  digest.Digest
	size    int64
	offset  int64
	flushed int64
	hash    hash.Hash
	buf     []byte
	unlock  func()
	done    bool
}

func newWriter(p *Pool, f *os.File, name string, d digest.Digest, size int64) (*Writer, error) {
	w := &Writer{pool: p, f: f, name: name, digest: d, size: size, hash: d.Algorithm().Hash()}
	fi, err := f.Stat()
	if err == nil && fi.Size() > size {
		err = f.Truncate(0) // not a part of this blob
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open partial blob: %w", err)
	}
	return w, nil
}

// Resume hashes what an earlier writer left and returns its length in bytes, the offset at
// which writing goes on. Whether those bytes were right shows at Commit.
func (w *Writer) Resume(ctx context.Context) (int64, error) {
	n, err := copyAll(ctx, w.hash, w.f, w.buffer())
	w.offset, w.flushed = n, n
	if err != nil {
		return n, fmt.Errorf("read partial blob: %w", err)
	}
	return n, nil
}

// Offset is how many bytes are there.
func (w *Writer) Offset() int64 { return w.offset }

// Reset throws away what was written.
func (w *Writer) Reset() error {
	w.hash.Reset()
	w.offset, w.flushed = 0, 0
	if err := w.f.Truncate(0); err != nil {
		return fmt.Errorf("truncate partial blob: %w", err)
	}
	if _, err := w.f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("rewind partial blob: %w", err)
	}
	return nil
}

func (w *Writer) buffer() []byte {
	if w.buf == nil {
		w.buf = make([]byte, bufferSize)
	}
	return w.buf
}

// ReadFrom appends all of r, hashing on the way. More bytes than the blob has are ErrSize, and
// not one of them is written.
func (w *Writer) ReadFrom(r io.Reader) (int64, error) {
	var total int64
	buf := w.buffer()
	for {
		n, err := r.Read(buf)
		if int64(n) > w.size-w.offset {
			return total, fmt.Errorf("%w: got more than %d bytes", ErrSize, w.size)
		}
		if n > 0 {
			if _, e := w.f.Write(buf[:n]); e != nil {
				return total, errors.Join(fmt.Errorf("write blob: %w", e), w.truncate())
			}
			w.hash.Write(buf[:n])
			w.offset += int64(n)
			total += int64(n)
			w.flush()
		}
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// truncate drops the bytes of a write that failed half-way, which were not hashed.
func (w *Writer) truncate() error {
	if err := w.f.Truncate(w.offset); err != nil {
		return err
	}
	_, err := w.f.Seek(w.offset, io.SeekStart)
	return err
}

func (w *Writer) flush() {
	if w.offset-w.flushed >= flushEvery {
		w.startWriteback()
	}
}

// startWriteback asks the kernel to write what is not on disk yet; it does not wait. Where
// the file system cannot, the sync does all of it.
func (w *Writer) startWriteback() {
	_ = unix.SyncFileRange(int(w.f.Fd()), w.flushed, w.offset-w.flushed, unix.SYNC_FILE_RANGE_WRITE)
	w.flushed = w.offset
}

// Verify checks length and digest of what was written: nil, ErrSize or ErrDigest, wrapped
// with what was got and wanted.
func (w *Writer) Verify() error {
	if w.offset != w.size {
		return fmt.Errorf("%w: got %d bytes, want %d", ErrSize, w.offset, w.size)
	}
	if got := digest.NewDigest(w.digest.Algorithm(), w.hash); got != w.digest {
		return fmt.Errorf("%w: got %s, want %s", ErrDigest, got, w.digest)
	}
	return nil
}

// Commit verifies the blob, makes it durable and gives it its name. It may wait for the disk
// while others download.
func (w *Writer) Commit() error {
	if err := w.Verify(); err != nil {
		return err
	}
	if err := w.f.Chmod(fileMode); err != nil {
		return fmt.Errorf("publish blob: %w", err)
	}
	w.buf = nil
	w.startWriteback()
	if err := w.pool.sync(w.f); err != nil {
		return fmt.Errorf("sync blob: %w", err)
	}
	if err := os.Rename(w.name, w.pool.path(w.digest)); err != nil {
		return fmt.Errorf("publish blob: %w", err)
	}
	w.done = true
	return nil
}

// adopt makes the file at path the blob: by link or reflink once its content is verified, else
// by a copy that is verified while it is written. It says whether the content was right.
func (w *Writer) adopt(ctx context.Context, path string) (bool, error) {
	tmp := w.name + ".adopt"
	if err := os.Remove(tmp); err != nil && !isAbsent(err) {
		return false, fmt.Errorf("adopt blob: %w", err)
	}
	defer os.Remove(tmp)
	if err := share(path, tmp); err != nil {
		return w.copyFrom(path)
	}
	f, err := os.Open(tmp)
	if err != nil {
		return false, fmt.Errorf("adopt blob: %w", err)
	}
	defer f.Close()
	h := w.digest.Algorithm().Hash()
	if _, err := copyAll(ctx, h, f, w.buffer()); err != nil {
		return false, fmt.Errorf("adopt blob: read %s: %w", path, err)
	}
	if digest.NewDigest(w.digest.Algorithm(), h) != w.digest {
		return false, nil
	}
	if err := w.pool.sync(f); err != nil {
		return false, fmt.Errorf("sync blob: %w", err)
	}
	if err := os.Rename(tmp, w.pool.path(w.digest)); err != nil {
		return false, fmt.Errorf("publish blob: %w", err)
	}
	return true, w.Reset()
}

func (w *Writer) copyFrom(path string) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, fmt.Errorf("adopt blob: %w", err)
	}
	defer f.Close()
	if err := w.Reset(); err != nil {
		return false, err
	}
	if _, err := w.ReadFrom(f); err != nil {
		return false, err
	}
	if err := w.Verify(); err != nil {
		return false, w.Reset()
	}
	return true, w.Commit()
}

// Close gives the blob up for others. What was written stays, but a file without a byte.
func (w *Writer) Close() error {
	if w.f == nil {
		return nil
	}
	if fi, err := w.f.Stat(); err == nil && !w.done && fi.Size() == 0 {
		_ = os.Remove(w.name)
	}
	err := w.f.Close()
	w.f = nil
	w.unlock()
	return err
}

// copyAll is io.CopyBuffer that ends when ctx does.
func copyAll(ctx context.Context, dst io.Writer, src io.Reader, buf []byte) (int64, error) {
	var total int64
	for {
		if ctx.Err() != nil {
			return total, context.Cause(ctx)
		}
		n, err := src.Read(buf)
		if n > 0 {
			if _, e := dst.Write(buf[:n]); e != nil {
				return total, e
			}
			total += int64(n)
		}
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}
