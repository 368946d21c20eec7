package files

import (
	"bufio"
	"compress/bzip2"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"

	"osbuild-containers/internal/layer/gunzip"
)

const (
	// maxPlain is how many bytes something compressed may have when it is decompressed.
	maxPlain = 64 << 30

	// maxWindow is the most memory that a zstd or xz stream may ask for: what zstd itself allows, and twice what
	// xz -9 asks for.
	maxWindow = 128 << 20
)

// decompressed returns the file itself, or, when it is compressed, a file without a name
// that has what is in it: an archive can only be read here and there when it is plain.
func decompressed(ctx context.Context, file *os.File) (*os.File, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("is not a file")
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

// compression is how a blob begins.
type compression struct {
	name  string
	magic string
	mask  byte // of the first byte
}

var compressions = []compression{
	{"gzip", "\x1f\x8b", 0xff},
	{"zstd", "\x28\xb5\x2f\xfd", 0xff},
	{"zstd", "\x50\x2a\x4d\x18", 0xf0}, // a frame to be skipped
	{"bzip2", "BZh", 0xff},
	{"xz", "\xfd7zXZ\x00", 0xff},
}

// compression is the name of the blob's, "" for none.
func (b Blob) compression() (string, error) {
	head := make([]byte, 6)
	n, err := b.Reader().ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return "", err
	}
	for _, c := range compressions {
		if n >= len(c.magic) && head[0]&c.mask == c.magic[0] && string(head[1:len(c.magic)]) == c.magic[1:] {
			return c.name, nil
		}
	}
	return "", nil
}

// Compressed reports whether the blob begins like something compressed.
func (b Blob) Compressed() (bool, error) {
	c, err := b.compression()
	return c != "", err
}

// Decompress reads what is in a blob that is compressed with one of compressions. More than an image can
// have is an error.
func (b Blob) Decompress() (io.ReadCloser, error) {
	c, err := b.compression()
	if err != nil {
		return nil, err
	}
	switch c {
	case "gzip":
		return &bounded{r: newGunzip(b.Reader())}, nil
	case "zstd":
		d, err := zstd.NewReader(b.Reader(), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, fmt.Errorf("decompress: %w", err)
		}
		return &bounded{r: d, close: d.Close}, nil
	case "bzip2":
		return &bounded{r: bzip2.NewReader(bufio.NewReaderSize(b.Reader(), 1<<16))}, nil
	case "xz":
		return &bounded{r: newXz(b.Reader())}, nil
	}
	return nil, errors.New("is not compressed")
}

// UntilDone reads from r until ctx ends.
func UntilDone(ctx context.Context, r io.Reader) io.Reader { return untilDone{ctx, r} }

type untilDone struct {
	context.Context
	io.Reader
}

func (r untilDone) Read(p []byte) (int, error) {
	if r.Err() != nil {
		return 0, context.Cause(r)
	}
	return r.Reader.Read(p)
}

// bounded is a stream that must not be longer than maxPlain.
type bounded struct {
	r     io.Reader
	n     int64
	close func()
}

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.n += int64(n); b.n > maxPlain {
		return 0, fmt.Errorf("decompress: more than the limit of %d bytes", int64(maxPlain))
	}
	if err != nil && err != io.EOF {
		err = fmt.Errorf("decompress: %w", err)
	}
	return n, err
}

func (b *bounded) Close() error {
	if b.close != nil {
		b.close()
	}
	return nil
}

// unzip is a gunzip.Reader that is read like any other.
type unzip struct {
	z    *gunzip.Reader
	buf  []byte
	rest []byte
}

func newGunzip(r io.Reader) *unzip {
	in := make([]byte, 128<<10)
	return &unzip{buf: make([]byte, gunzip.History+256<<10), z: gunzip.New(func() ([]byte, error) {
		n, err := r.Read(in)
		if n > 0 {
			err = nil
		}
		return in[:n], err
	})}
}

func (u *unzip) Read(p []byte) (int, error) {
	if len(u.rest) == 0 {
		n, err := u.z.Fill(u.buf)
		if err != nil {
			return 0, err
		}
		u.rest = u.buf[gunzip.History:][:n]
	}
	n := copy(p, u.rest)
	u.rest = u.rest[n:]
	return n, nil
}
