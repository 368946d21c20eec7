package ocilayout

import (
	"context"
	"errors"
	"io"
	"os"

	"osbuild-containers/internal/compression"
)

// decompressed returns the file itself or, if it is compressed, an unnamed file with its content: random access needs an
// uncompressed archive.
func decompressed(ctx context.Context, file *os.File) (*os.File, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	whole := Blob{File: file, Size: info.Size(), Whole: true}
	if packed, err := whole.Compressed(); err != nil || !packed {
		return file, err
	}
	plain, err := whole.Decompress()
	if err != nil {
		return nil, err
	}
	out, err := spool(ctx, func() (io.ReadCloser, error) { return plain, nil })
	if err != nil {
		return nil, err
	}
	return out, file.Close()
}

// compression returns the blob's compression, detected from its first bytes.
func (b Blob) compression() (compression.Kind, error) {
	head := make([]byte, compression.HeadSize)
	n, err := b.Reader().ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return "", err
	}
	return compression.Of(head[:n]), nil
}

// Compressed reports whether the blob starts like compressed data.
func (b Blob) Compressed() (bool, error) {
	c, err := b.compression()
	return c != compression.None, err
}

// Decompress returns the uncompressed content of a blob. Reading more bytes than an image can have is an error.
func (b Blob) Decompress() (io.ReadCloser, error) {
	c, err := b.compression()
	if err != nil {
		return nil, err
	}
	return compression.NewReader(c, b.Reader())
}
