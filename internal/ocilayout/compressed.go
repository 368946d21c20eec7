package ocilayout

import (
	"context"
	"errors"
	"io"
	"os"

	"osbuild-containers/internal/compression"
)

// decompressed returns the file itself, or, when it is compressed, a file without a name
// that has what is in it: an archive can only be read here and there when it is plain.
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

// compression returns how the blob is compressed, by its first bytes.
func (b Blob) compression() (compression.Kind, error) {
	head := make([]byte, compression.HeadSize)
	n, err := b.Reader().ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return "", err
	}
	return compression.Of(head[:n]), nil
}

// Compressed reports whether the blob begins like something compressed.
func (b Blob) Compressed() (bool, error) {
	c, err := b.compression()
	return c != compression.None, err
}

// Decompress reads the content of a compressed blob. More bytes than an image can have are an error.
func (b Blob) Decompress() (io.ReadCloser, error) {
	c, err := b.compression()
	if err != nil {
		return nil, err
	}
	return compression.NewReader(c, b.Reader())
}
