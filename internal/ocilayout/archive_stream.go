package ocilayout

import (
	"archive/tar"
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"time"

	"osbuild-containers/internal/manifest"
)

// Stream writes the content to w as a tar file, for writers that cannot seek.
func (c *Content) Stream(ctx context.Context, w io.Writer) error {
	c.sort()
	index, err := c.index()
	if err != nil {
		return err
	}
	s := &stream{w: w}
	begin(s, index, c.Documents)
	for _, d := range c.Blobs {
		s.header(tar.TypeReg, blobDir+d.Digest.Encoded(), 0o644, d.Size)
		if s.err == nil {
			s.err = c.stream(ctx, s, d)
		}
		s.zeros(padded(d.Size) - d.Size)
	}
	s.zeros(sizeOf(s.n) - s.n)
	return s.err
}

// stream writes and verifies a blob.
func (c *Content) stream(ctx context.Context, s *stream, d manifest.Descriptor) error {
	b, _, err := c.File(d)
	if err != nil {
		return err
	}
	defer b.Close()
	hash, in := sha256.New(), b.Reader()
	buf := make([]byte, piece)
	for done := int64(0); done < d.Size; {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		n, err := io.ReadFull(in, buf[:min(piece, d.Size-done)])
		if err != nil {
			return fmt.Errorf("copy blob %s: %w", d.Digest, noEOF(err))
		}
		hash.Write(buf[:n])
		if _, err := s.Write(buf[:n]); err != nil {
			return err
		}
		if done += int64(n); c.Told != nil {
			c.Told(d.Digest, int64(n))
		}
	}
	return verify(hash, d.Digest)
}

// stream is a tar file written sequentially.
type stream struct {
	w   io.Writer
	n   int64
	err error
}

func (s *stream) Write(p []byte) (int, error) {
	n, err := s.w.Write(p)
	s.n += int64(n)
	return n, err
}

func (s *stream) put(p []byte) {
	if s.err == nil {
		_, s.err = s.Write(p)
	}
}

func (s *stream) header(kind byte, name string, mode, size int64) int64 {
	header, err := tarHeader(kind, name, mode, size, time.Unix(0, 0))
	s.err = cmp.Or(s.err, err)
	s.put(header)
	return s.n
}

func (s *stream) file(name string, content []byte) {
	s.header(tar.TypeReg, name, 0o644, int64(len(content)))
	s.put(content)
	s.zeros(padded(int64(len(content))) - int64(len(content)))
}

func (s *stream) zeros(n int64) { s.put(make([]byte, n)) }
