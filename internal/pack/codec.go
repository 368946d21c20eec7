package pack

import (
	"fmt"

	"github.com/klauspost/compress/zstd"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// Compression is the compression of layers.
type Compression struct {
	Format string // "gzip" (also when empty), "zstd" or "none"
	Level  int    // 1 to 9 for gzip, 1 to 22 for zstd; 0 is the format's default
}

// codec compresses consecutive blocks into one stream. Each worker has its own; a further one sees all blocks in order with
// count, and makes the stream's header and trailer.
type codec interface {
	block() int                            // block size in bytes
	encode(dst, dict, block []byte) []byte // appends to dst; dict is the preceding data
	count(block []byte)
	header() []byte
	trailer() []byte
}

// Check returns an error if c is invalid.
func (c Compression) Check() error {
	_, err := c.codec()
	return err
}

// codec returns a new codec, or an error if c is invalid.
func (c Compression) codec() (codec, error) {
	if c.Format == "" {
		c.Format = "gzip"
	}
	most := 0
	switch c.Format {
	case "gzip":
		most = 9
	case "zstd":
		most = 22
	case "none":
	default:
		return nil, fmt.Errorf("compression %q is not known: use gzip, zstd or none", c.Format)
	}
	if c.Level < 0 || c.Level > most {
		if most == 0 {
			return nil, fmt.Errorf("compression none has no level, but %d is given", c.Level)
		}
		return nil, fmt.Errorf("level %d of %s is not between 1 and %d", c.Level, c.Format, most)
	}
	switch c.Format {
	case "zstd":
		return newZstd(c.Level)
	case "none":
		return plain{}, nil
	}
	return newGzip(c.Level)
}

func (c Compression) mediaType() string {
	switch c.Format {
	case "zstd":
		return v1.MediaTypeImageLayerZstd
	case "none":
		return v1.MediaTypeImageLayer
	}
	return v1.MediaTypeImageLayerGzip
}

// plain does not compress.
type plain struct{}

func (plain) block() int                         { return gzipBlock }
func (plain) encode(dst, _, block []byte) []byte { return append(dst, block...) }
func (plain) count([]byte)                       {}
func (plain) header() []byte                     { return nil }
func (plain) trailer() []byte                    { return nil }

// zstdBlock is the size of the data in a zstd frame, in bytes. Frames are independent, so they can be compressed and
// decompressed in parallel.
const zstdBlock = 2 << 20

type zstdCodec struct{ enc *zstd.Encoder }

func newZstd(level int) (codec, error) {
	if level == 0 {
		level = 3
	}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(zstdBlock),
		zstd.WithEncoderLevel(zstd.EncoderLevelFromZstd(level)))
	if err != nil {
		return nil, fmt.Errorf("compression zstd: %w", err)
	}
	return zstdCodec{enc}, nil
}

func (zstdCodec) block() int                           { return zstdBlock }
func (z zstdCodec) encode(dst, _, block []byte) []byte { return z.enc.EncodeAll(block, dst) }
func (zstdCodec) count([]byte)                         {}
func (zstdCodec) header() []byte                       { return nil }
func (zstdCodec) trailer() []byte                      { return nil }
