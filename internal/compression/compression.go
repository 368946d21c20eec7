// Package compression detects and decompresses gzip, zstd, bzip2 and xz.
//
// Streams are untrusted: the size of the output and the memory are bounded.
package compression

import (
	"bufio"
	"compress/bzip2"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"osbuild-containers/internal/layer/gunzip"
)

const (
	// maxPlain is the maximum size of the output, in bytes.
	maxPlain = 64 << 30

	// MaxWindow is the maximum memory, in bytes, that a zstd or xz stream may require: zstd's own limit, and twice what
	// xz -9 requires.
	MaxWindow = 128 << 20
)

// HeadSize is the maximum number of bytes that Of needs to detect a compression.
const HeadSize = 6

// A Kind is a compression.
type Kind string

// Kinds of compression.
const (
	None  Kind = ""
	Gzip  Kind = "gzip"
	Zstd  Kind = "zstd"
	Bzip2 Kind = "bzip2"
	Xz    Kind = "xz"
)

var magics = []struct {
	kind  Kind
	magic string
	mask  byte // applied to the first byte
}{
	{Gzip, "\x1f\x8b", 0xff},
	{Zstd, "\x28\xb5\x2f\xfd", 0xff},
	{Zstd, "\x50\x2a\x4d\x18", 0xf0}, // skippable frame
	{Bzip2, "BZh", 0xff},
	{Xz, "\xfd7zXZ\x00", 0xff},
}

// Of returns the compression of a stream that starts with head.
func Of(head []byte) Kind {
	for _, m := range magics {
		if len(head) >= len(m.magic) && head[0]&m.mask == m.magic[0] && string(head[1:len(m.magic)]) == m.magic[1:] {
			return m.kind
		}
	}
	return None
}

// NewReader returns a reader of the uncompressed stream. Reading more bytes than an image can have is an error.
func NewReader(kind Kind, r io.Reader) (io.ReadCloser, error) {
	switch kind {
	case Gzip:
		return &bounded{r: newGunzip(r)}, nil
	case Zstd:
		d, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(MaxWindow))
		if err != nil {
			return nil, fmt.Errorf("decompress: %w", err)
		}
		return &bounded{r: d, close: d.Close}, nil
	case Bzip2:
		return &bounded{r: bzip2.NewReader(bufio.NewReaderSize(r, 1<<16))}, nil
	case Xz:
		return &bounded{r: newXz(r)}, nil
	}
	return nil, errors.New("not compressed")
}

// Plain returns a reader of the uncompressed stream, detecting the compression, if any, from its first bytes. Reading more bytes
// than an image can have is an error.
func Plain(r io.Reader) (io.ReadCloser, error) {
	in := bufio.NewReaderSize(r, 1<<16)
	head, err := in.Peek(HeadSize)
	if err != nil && err != io.EOF {
		return nil, err
	}
	if kind := Of(head); kind != None {
		return NewReader(kind, in)
	}
	return &bounded{r: in}, nil
}

// bounded is a stream limited to maxPlain bytes.
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

// unzip is an io.Reader for a gunzip.Reader.
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
