package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/manifest"
)

// bufferSize is the unit of reading and writing blobs, in bytes; each writer has one buffer.
const bufferSize = 256 << 10

// flushEvery is the number of bytes after which writeback is started, so that the final sync has little left to
// write.
const flushEvery = 8 << 20

// Writer writes one blob to the pool. The blob is not visible before Commit succeeds. The data of an unfinished blob
// is kept for the next Writer of the blob, unless Reset discards it.
type Writer struct {
	pool    *Pool
	f       *os.File
	digest  digest.Digest
	size    int64 // negative: unknown
	offset  int64
	flushed int64
	hash    hash.Hash
	buf     []byte
	unlock  func()
	leave   func() // tells the syncer that this writer has nothing left to sync
	done    bool   // the blob is in the pool
	wrong   bool   // the data does not match the digest
}

func newWriter(p *Pool, f *os.File, d digest.Digest, size int64) (*Writer, error) {
	w := &Writer{pool: p, f: f, digest: d, size: size, hash: d.Algorithm().Hash()}
	fi, err := f.Stat()
	if err == nil && size >= 0 && fi.Size() > size {
		err = f.Truncate(0) // data of something else
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open partial blob: %w", err)
	}
	w.leave = p.syncs.join()
	return w, nil
}

// Resume hashes the data of an earlier writer and returns its length in bytes, the offset at which writing continues.
// Whether the data is right is verified by Commit. Unreadable data is discarded.
func (w *Writer) Resume(ctx context.Context) (int64, error) {
	if fi, err := w.f.Stat(); err == nil && fi.Size() == 0 { // the usual case
		return 0, nil
	}
	n, err := copyAll(ctx, w.hash, w.f, w.buffer())
	w.buf = nil // the download may not start for a while
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

// Reset discards the data written so far.
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
		n := int64(bufferSize)
		if w.size >= 0 {
			n = min(n, w.size+1) // one more than needed, to detect a blob that is too long
		}
		w.buf = make([]byte, n)
	}
	return w.buf
}

// ReadFrom appends all of r, hashing it. If r has more bytes than the blob, it writes none of the excess and returns
// a manifest.MismatchError.
func (w *Writer) ReadFrom(r io.Reader) (int64, error) {
	var total int64
	buf := w.buffer()
	for {
		n, err := r.Read(buf)
		if w.size >= 0 && int64(n) > w.size-w.offset {
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

// Put writes a whole blob that is in memory, replacing the data of before.
func (w *Writer) Put(blob []byte) error {
	if err := w.Reset(); err != nil {
		return err
	}
	_, err := w.ReadFrom(bytes.NewReader(blob))
	return err
}

// truncate removes bytes of a failed write that were not hashed.
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

// Complete reports whether the data is the blob.
func (w *Writer) Complete() bool {
	return (w.size < 0 || w.offset == w.size) && digest.NewDigest(w.digest.Algorithm(), w.hash) == w.digest
}

// Verify checks length and digest of the data. The error is a manifest.MismatchError.
func (w *Writer) Verify() error {
	if w.size >= 0 && w.offset != w.size {
		return manifest.SizeMismatch("", w.offset, w.size)
	}
	if got := digest.NewDigest(w.digest.Algorithm(), w.hash); got != w.digest {
		w.wrong = true
		return manifest.Mismatch("", got, w.digest)
	}
	return nil
}

// Commit verifies and syncs the blob and publishes it in the pool. It may wait until the blobs of other writers can
// be synced with it.
func (w *Writer) Commit() error {
	if err := w.Verify(); err != nil {
		return err
	}
	if err := w.f.Chmod(published(fileMode)); err != nil {
		return fmt.Errorf("publish blob: %w", err)
	}
	w.buf = nil
	if err := w.pool.syncs.sync(w.f, w.leave); err != nil {
		// Memory and disk may differ now, and the next sync would not report it.
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

// Close releases the blob for other writers. Its data is kept, unless it is empty or has the wrong digest.
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

// copyAll is io.CopyBuffer with a context.
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
