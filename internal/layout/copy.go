package layout

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"osbuild-containers/internal/image/files"
	"osbuild-containers/internal/manifest"
)

// piece is how much is copied and then verified at a time: what was copied last is in
// the processor's cache.
const piece = 1 << 20

// source is what blobs are read from.
type source interface {
	// File is where a blob lies, which the caller closes. ok is false when it lies in no file.
	File(d manifest.Descriptor) (b files.Blob, ok bool, err error)
	// Blob opens a blob that lies in no file.
	Blob(ctx context.Context, d manifest.Descriptor) (io.ReadCloser, error)
}

// copyBlob copies a blob into the file at the offset, and verifies it. It tells what it has written.
func copyBlob(ctx context.Context, to *os.File, at int64, src source, d manifest.Descriptor, tell func(at, n int64)) error {
	b, lies, err := src.File(d)
	if err != nil {
		return err
	}
	hash := newHash()
	if lies {
		err = copyFile(ctx, to, at, b, hash, tell)
		b.Close()
	} else {
		err = copyStream(ctx, to, at, src, d, hash)
	}
	if err != nil {
		return fmt.Errorf("copy blob %s: %w", d.Digest, err)
	}
	if got := (sum{hash}).String(); got != d.Digest.String() {
		return &DamagedError{Got: got, Want: d.Digest}
	}
	return nil
}

// copyFile lets the kernel copy, and reads what it has copied.
func copyFile(ctx context.Context, to *os.File, at int64, b files.Blob, hash io.Writer, tell func(at, n int64)) error {
	kernel := true
	buf := make([]byte, min(piece, b.Size))
	for done := int64(0); done < b.Size; {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		want := min(b.Size-done, piece)
		if kernel {
			from, into := b.Offset+done, at+done
			n, err := unix.CopyFileRange(int(b.File.Fd()), &from, int(to.Fd()), &into, int(want), 0)
			switch {
			case err == unix.EINTR:
				continue
			case err == nil && n > 0:
				want = int64(n)
			case err == nil, err == unix.EXDEV, err == unix.EINVAL, err == unix.EOPNOTSUPP, err == unix.ENOSYS, err == unix.EPERM:
				kernel = false
			default:
				return err
			}
		}
		if _, err := b.File.ReadAt(buf[:want], b.Offset+done); err != nil {
			return noEOF(err)
		}
		if _, err := hash.Write(buf[:want]); err != nil {
			return err
		}
		if !kernel {
			if _, err := to.WriteAt(buf[:want], at+done); err != nil {
				return err
			}
		}
		if tell != nil {
			tell(at+done, want)
		}
		done += want
	}
	return nil
}

// DamagedError says that a blob is not what its digest says.
type DamagedError struct {
	Got  string
	Want digest.Digest
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("blob is damaged: got %s, want %s", e.Got, e.Want)
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func copyStream(ctx context.Context, to *os.File, at int64, src source, d manifest.Descriptor, hash io.Writer) error {
	r, err := src.Blob(ctx, d)
	if err != nil {
		return err
	}
	defer r.Close()
	out := io.NewOffsetWriter(to, at)
	n, err := io.CopyBuffer(struct{ io.Writer }{io.MultiWriter(out, hash)}, io.LimitReader(r, d.Size+1), make([]byte, piece))
	if err != nil {
		return err
	}
	if n != d.Size {
		return fmt.Errorf("got %d bytes, want %d", n, d.Size)
	}
	return nil
}

// how a blob can come into a folder without being copied.
type shortcut struct{ noClone, noLink bool }

// clone makes the new file share the blob's storage.
func clone(to *os.File, b files.Blob) error {
	return unix.IoctlFileClone(int(to.Fd()), int(b.File.Fd()))
}

// link makes the blob's file known under another name.
func link(in *os.File, name string, b files.Blob) error {
	err := unix.Linkat(int(b.File.Fd()), "", int(in.Fd()), name, unix.AT_EMPTY_PATH)
	if errors.Is(err, unix.ENOENT) { // without CAP_DAC_READ_SEARCH
		self := fmt.Sprintf("/proc/self/fd/%d", b.File.Fd())
		err = unix.Linkat(unix.AT_FDCWD, self, int(in.Fd()), name, unix.AT_SYMLINK_FOLLOW)
	}
	return err
}
