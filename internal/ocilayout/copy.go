package ocilayout

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"osbuild-containers/internal/manifest"
)

// piece is how many bytes are read, hashed and written at once: few enough to stay in the processor's cache.
const piece = 256 << 10

// blobSource is where blobs are read from.
type blobSource interface {
	// File opens the file of a blob, which the caller must close. ok is false if the blob is not stored in a file.
	File(d manifest.Descriptor) (b Blob, ok bool, err error)
	// Blob opens a blob that is not stored in a file.
	Blob(ctx context.Context, d manifest.Descriptor) (io.ReadCloser, error)
}

// Ways in which a blob was written.
const (
	cloned = "cloned"
	copied = "copied"
)

// copyBlob writes a blob to the file at the offset and reports how. It hashes what was written, so a source that changes in
// the meantime is detected. tell, which may be nil, is called for every piece that is written and verified.
func copyBlob(ctx context.Context, to *os.File, at int64, src blobSource, d manifest.Descriptor, tell func(at, n int64)) (how string, err error) {
	b, inFile, err := src.File(d)
	if err != nil {
		return "", err
	}
	hash := sha256.New()
	switch {
	case !inFile:
		how, err = copied, copyStream(ctx, to, at, src, d, hash)
	case at == 0 && b.Whole && clone(to, b):
		how, err = cloned, pass(ctx, Blob{File: to, Size: b.Size}, nil, 0, hash, tell)
	default:
		how, err = copied, pass(ctx, b, to, at, hash, tell)
	}
	if inFile {
		b.Close()
	}
	if err != nil {
		return "", fmt.Errorf("copy blob %s: %w", d.Digest, err)
	}
	return how, verify(hash, d.Digest)
}

// clone makes the empty file share the blob's extents, and reports whether the file system supports that. The clone is
// independent of the original. It has the blob's size, even if the file has changed since it was opened.
func clone(to *os.File, b Blob) bool {
	return unix.IoctlFileClone(int(to.Fd()), int(b.File.Fd())) == nil && to.Truncate(b.Size) == nil
}

// pass reads a blob, hashes it and, if to is not nil, writes it at the offset. copy_file_range is not faster unless it clones,
// since all data must be read for the hash, and what it copied would have to be read back.
func pass(ctx context.Context, b Blob, to io.WriterAt, at int64, hash io.Writer, tell func(at, n int64)) error {
	buf := make([]byte, min(piece, b.Size))
	for done := int64(0); done < b.Size; {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		part := buf[:min(int64(len(buf)), b.Size-done)]
		if _, err := b.File.ReadAt(part, b.Offset+done); err != nil {
			return noEOF(err)
		}
		if _, err := hash.Write(part); err != nil {
			return err
		}
		if to != nil {
			if _, err := to.WriteAt(part, at+done); err != nil {
				return err
			}
		}
		if tell != nil {
			tell(at+done, int64(len(part)))
		}
		done += int64(len(part))
	}
	return nil
}

// verify returns an error unless the digest matches.
func verify(hash hash.Hash, want digest.Digest) error {
	if got := digest.NewDigest(digest.SHA256, hash); got != want {
		return manifest.Mismatch("blob", got, want)
	}
	return nil
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

func copyStream(ctx context.Context, to *os.File, at int64, src blobSource, d manifest.Descriptor, hash io.Writer) error {
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
