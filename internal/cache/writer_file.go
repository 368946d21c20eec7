package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Link adds an existing file to the pool as the blob, by hard link, reflink or copy, if it has the blob's digest, and
// reports whether it did. Otherwise the data written before is kept. If open fails, the file does not count as the
// blob.
func (w *Writer) Link(ctx context.Context, open func() (*os.File, error)) (bool, error) {
	f, err := open()
	if err != nil {
		return false, nil
	}
	defer f.Close()
	right, err := w.isBlob(ctx, f)
	if err != nil || !right {
		return false, err
	}
	if linked, err := w.linkFile(f); err != nil || linked {
		return linked, err
	}
	if err := w.copyFrom(ctx, f); err != nil {
		return false, fmt.Errorf("copy blob %s: %w", f.Name(), err)
	}
	return true, w.Commit()
}

// pieceSize is the number of bytes that are copied and then hashed at a time, while they are in the processor's
// cache.
const pieceSize = 1 << 20

// ReadFile appends the missing part of the blob, hashing it. The blob starts at offset at in f. The kernel copies
// where it can, by reflink if the file system supports it.
func (w *Writer) ReadFile(ctx context.Context, f *os.File, at int64) error {
	kernel := true
	buf := make([]byte, min(pieceSize, w.size-w.offset))
	for w.offset < w.size {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		piece := buf[:min(int64(len(buf)), w.size-w.offset)]
		if kernel {
			from, to := at+w.offset, w.offset
			n, err := unix.CopyFileRange(int(f.Fd()), &from, int(w.f.Fd()), &to, len(piece), 0)
			switch {
			case err == unix.EINTR:
				continue
			case err == nil && n > 0:
				piece = piece[:n]
			case err == unix.ENOSPC, err == unix.EDQUOT, err == unix.EIO:
				return fmt.Errorf("write blob: %w", &fs.PathError{Op: "copy to", Path: w.f.Name(), Err: err})
			default:
				kernel = false
			}
		}
		if err := w.piece(piece, f, at, kernel); err != nil {
			return errors.Join(err, w.truncate())
		}
		w.hash.Write(piece)
		w.offset += int64(len(piece))
		w.flush()
	}
	_, err := w.f.Seek(w.offset, io.SeekStart)
	return err
}

// piece reads the next piece of the blob. Copied data is read from the copy, since the owner of f may change f
// meanwhile.
func (w *Writer) piece(piece []byte, f *os.File, at int64, copied bool) error {
	if copied {
		if _, err := w.f.ReadAt(piece, w.offset); err != nil {
			return fmt.Errorf("read blob: %w", noEOF(err))
		}
		return nil
	}
	if _, err := f.ReadAt(piece, at+w.offset); err != nil {
		return fmt.Errorf("read blob: %w", noEOF(err))
	}
	if _, err := w.f.WriteAt(piece, w.offset); err != nil {
		return fmt.Errorf("write blob: %w", err)
	}
	return nil
}

// noEOF turns io.EOF, for a file shorter than expected, into io.ErrUnexpectedEOF.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// isBlob reports whether the content of f has the blob's size and digest. It returns false if f cannot be read.
func (w *Writer) isBlob(ctx context.Context, f *os.File) (bool, error) {
	fi, err := f.Stat()
	if err != nil || w.size >= 0 && fi.Size() != w.size {
		return false, err
	}
	v := w.digest.Verifier()
	_, err = copyAll(ctx, v, f, w.buffer())
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	return err == nil && v.Verified(), nil
}

// linkFile links a verified file into the pool, if links are possible and it has the owner and mode of published
// files: otherwise other users could change the blob later.
func (w *Writer) linkFile(f *os.File) (bool, error) {
	fi, err := f.Stat()
	if err != nil || !isOurs(fi) { // fall back to a copy
		return false, err
	}
	if err := w.pool.syncs.sync(f, w.leave); err != nil {
		return false, fmt.Errorf("sync blob: %w", err)
	}
	w.done = linkOpen(f, w.pool.blobs, w.digest.Encoded()) == nil
	if !w.done {
		return false, nil
	}
	return true, w.pool.partial.remove(w.digest.Encoded())
}

// isOurs reports whether a file has the owner and mode of files published by this process.
func isOurs(fi fs.FileInfo) bool {
	st, ok := fi.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid() && fi.Mode() == published(fileMode)
}

// copyFrom replaces the partial blob by the content of f, by reflink if possible.
func (w *Writer) copyFrom(ctx context.Context, f *os.File) error {
	if err := w.Reset(); err != nil {
		return err
	}
	if unix.IoctlFileClone(int(w.f.Fd()), int(f.Fd())) == nil {
		_, err := w.Resume(ctx)
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	_, err := w.ReadFrom(readerUntil{ctx, f})
	return err
}

// readerUntil is a reader with a context.
type readerUntil struct {
	context.Context
	io.Reader
}

func (r readerUntil) Read(p []byte) (int, error) {
	if r.Err() != nil {
		return 0, context.Cause(r)
	}
	return r.Reader.Read(p)
}
