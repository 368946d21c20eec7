package cache

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/manifest"
)

// bufferSize is the unit of reading and writing blobs, in bytes; a writer has one buffer.
const bufferSize = 256 << 10

// flushEvery is after how many bytes the kernel is told to start writing to disk, so that
// the sync at the end finds little to do.
const flushEvery = 8 << 20

// Writer writes one blob into the pool. Until Commit succeeds nothing is visible under the
// blob's name; what was written stays for the next Writer of the blob, unless Reset drops it.
type Writer struct {
	pool    *Pool
	f       *os.File
	digest  digest.Digest
	size    int64
	offset  int64
	flushed int64
	hash    hash.Hash
	buf     []byte
	unlock  func()
	leave   func() // there will be nothing to sync
	done    bool   // the blob is in the pool
	wrong   bool   // what was written is not the blob
}

func newWriter(p *Pool, f *os.File, d digest.Digest, size int64) (*Writer, error) {
	w := &Writer{pool: p, f: f, digest: d, size: size, hash: d.Algorithm().Hash()}
	fi, err := f.Stat()
	if err == nil && fi.Size() > size {
		err = f.Truncate(0) // not a part of this blob
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open partial blob: %w", err)
	}
	w.leave = p.syncs.join()
	return w, nil
}

// Resume hashes what an earlier writer left and returns its length in bytes, the offset at
// which writing continues. Whether those bytes were right shows at Commit. If they cannot be read
// it is as if there were none.
func (w *Writer) Resume(ctx context.Context) (int64, error) {
	if fi, err := w.f.Stat(); err == nil && fi.Size() == 0 { // the usual case
		return 0, nil
	}
	n, err := copyAll(ctx, w.hash, w.f, w.buffer())
	w.buf = nil // it may be long until the download has a slot
	w.offset, w.flushed = n, n
	if ctx.Err() != nil {
		return n, context.Cause(ctx)
	}
	if err != nil {
		return 0, w.Reset()
	}
	return n, nil
}

// Offset returns the number of bytes written.
func (w *Writer) Offset() int64 { return w.offset }

// Reset throws away what was written.
func (w *Writer) Reset() error {
	w.hash.Reset()
	w.offset, w.flushed, w.wrong = 0, 0, false
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
		w.buf = make([]byte, min(bufferSize, w.size+1)) // one more, to see a blob that is too long
	}
	return w.buf
}

// ReadFrom appends all of r, hashing on the way. More bytes than the blob has are a
// manifest.MismatchError, and not one of them is written.
func (w *Writer) ReadFrom(r io.Reader) (int64, error) {
	var total int64
	buf := w.buffer()
	for {
		n, err := r.Read(buf)
		if int64(n) > w.size-w.offset {
			return total, manifest.TooLong("", w.size)
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
		startWriteback(w.f, w.flushed, w.offset-w.flushed)
		w.flushed = w.offset
	}
}

// Verify checks length and digest of what was written: nil, or a
// manifest.MismatchError.
func (w *Writer) Verify() error {
	if w.offset != w.size {
		return manifest.SizeMismatch("", w.offset, w.size)
	}
	if got := digest.NewDigest(w.digest.Algorithm(), w.hash); got != w.digest {
		w.wrong = true
		return manifest.Mismatch("", got, w.digest)
	}
	return nil
}

// Commit verifies the blob, makes it durable and gives it its name. It may wait for the disk
// while others download.
func (w *Writer) Commit() error {
	if err := w.Verify(); err != nil {
		return err
	}
	if err := w.f.Chmod(published(fileMode)); err != nil {
		return fmt.Errorf("publish blob: %w", err)
	}
	w.buf = nil
	if err := w.pool.syncs.sync(w.f, w.leave); err != nil {
		// What is in memory may not be what is on disk, and the next sync would not tell.
		return errors.Join(fmt.Errorf("sync blob: %w", err), w.Reset())
	}
	name := w.digest.Encoded()
	if !w.pool.partial.is(w.f, name) {
		return fmt.Errorf("publish blob: %s was removed while it was written", w.f.Name())
	}
	if err := w.pool.partial.rename(name, w.pool.blobs, name); err != nil {
		return fmt.Errorf("publish blob: %w", err)
	}
	w.done = true
	return nil
}

// Close releases the blob for other writers. What was written stays, unless it is empty or has the wrong digest.
func (w *Writer) Close() error {
	if w.f == nil {
		return nil
	}
	if fi, err := w.f.Stat(); err == nil && !w.done && (fi.Size() == 0 || w.wrong) && w.pool.partial.is(w.f, w.digest.Encoded()) {
		_ = w.pool.partial.remove(w.digest.Encoded())
	}
	err := w.f.Close()
	w.f = nil
	w.leave()
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
