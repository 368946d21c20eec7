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

// Link brings an existing file into the pool as the blob, by hard link, reflink or copy, and reports whether it
// did: only if the file has the blob's digest. Otherwise what was written before stays. A file that open cannot open is
// not the blob.
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

// pieceSize is how much of a file is copied and then hashed at one time: what was copied last is in the
// processor's cache.
const pieceSize = 1 << 20

// ReadFile appends what is missing of the blob, which begins in f at the offset, hashing on the way. The
// kernel copies where it can, by reflink if the file system has that.
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

// piece reads the next piece of the blob. What was copied is read from the copy: f may be changed by its owner
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

// noEOF is for a file that ends before its time.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// isBlob reports whether the content of f has the blob's size and digest. A file that cannot be read
// is not the blob.
func (w *Writer) isBlob(ctx context.Context, f *os.File) (bool, error) {
	fi, err := f.Stat()
	if err != nil || fi.Size() != w.size {
		return false, err
	}
	v := w.digest.Verifier()
	_, err = copyAll(ctx, v, f, w.buffer())
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	return err == nil && v.Verified(), nil
}

// linkFile links a verified file into the pool, if links are possible and it has the owner and mode of what is
// published: otherwise its owner, or those who may write to it, could change the blob later.
func (w *Writer) linkFile(f *os.File) (bool, error) {
	fi, err := f.Stat()
	if err != nil || !isOurs(fi) { // a copy will do
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

// isOurs reports whether a file has the owner and the mode that it would have if this process had
// published it.
func isOurs(fi fs.FileInfo) bool {
	st, ok := fi.Sys().(*syscall.Stat_t)
	return ok && int(st.Uid) == os.Geteuid() && fi.Mode() == published(fileMode)
}

// copyFrom makes the content of f, by reflink if possible, that of the partial blob.
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

// readerUntil is a reader that ends when ctx does.
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
