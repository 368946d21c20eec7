package layer

import (
	"context"
	"crypto/sha256"
	_ "crypto/sha512" // registers it with go-digest
	"errors"
	"hash"
	"io"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/manifest"
)

const (
	blockSize = 128 << 10 // bytes of a blob read at once
	blocks    = 4         // blocks to read ahead
)

// block is a piece of a blob.
type block struct {
	data []byte
	err  error // after the data
}

// source reads a blob ahead and computes its digest.
type source struct {
	in   chan block
	free chan []byte
	cur  block
	buf  []byte // contains cur

	unread []byte // rest of cur, returned first
}

func newSource() *source {
	return &source{in: make(chan block, blocks), free: make(chan []byte, blocks+2)}
}

// run reads the blob to EOF, or until ctx is done. The error after the last byte is io.EOF only if size and digest match.
func (s *source) run(ctx context.Context, b Blob) {
	r, err := b.Open()
	if err != nil {
		s.send(ctx, block{err: err})
		return
	}
	defer r.Close()
	sum := newSum(b.Digest)
	var size int64
	for {
		buf := s.buffer()
		n, err := io.ReadFull(r, buf)
		if errors.Is(err, io.ErrUnexpectedEOF) {
			err = io.EOF
		}
		size += int64(n)
		sum.Write(buf[:n])
		if b.Size >= 0 && size > b.Size && !b.rewritten() {
			err = manifest.TooLong("blob", b.Size)
		} else if err == io.EOF {
			err = sum.check("blob", b, size)
		}
		if !s.send(ctx, block{buf[:n], err}) || err != nil {
			return
		}
	}
}

func (s *source) buffer() []byte {
	select {
	case buf := <-s.free:
		return buf
	default:
		return make([]byte, blockSize)
	}
}

func (s *source) send(ctx context.Context, b block) bool {
	select {
	case s.in <- b:
		return true
	case <-ctx.Done():
		return false
	}
}

// next returns the next bytes, valid until the next call.
func (s *source) next() ([]byte, error) {
	if b := s.unread; len(b) > 0 {
		s.unread = nil
		return b, nil
	}
	for {
		if s.cur.err != nil {
			return nil, s.cur.err
		}
		if s.buf != nil {
			s.free <- s.buf[:blockSize] // has room for all blocks
		}
		b, ok := <-s.in
		if !ok {
			b.err = context.Canceled
		}
		s.cur, s.buf = b, b.data
		if cap(s.buf) < blockSize {
			s.buf = nil
		}
		if len(b.data) > 0 {
			return b.data, nil
		}
	}
}

// peek returns the first n bytes, or fewer at EOF, without consuming them.
func (s *source) peek(n int) ([]byte, error) {
	b, err := s.next()
	if err != nil {
		return nil, err
	}
	s.unread = b
	return b[:min(n, len(b))], nil
}

// Read implements io.Reader, for decompressors.
func (s *source) Read(p []byte) (int, error) {
	b, err := s.next()
	if err != nil {
		return 0, err
	}
	n := copy(p, b)
	s.unread = b[n:]
	return n, nil
}

// rest reads what the decompressor left unread, which must be nothing.
func (s *source) rest() error {
	_, err := s.next()
	switch {
	case err == io.EOF:
		return nil
	case err != nil:
		return err
	default:
		return errors.New("there is data after the end of the compressed data")
	}
}

// damage reads the rest of the blob after the decompressor failed with err. A mismatch of the blob's digest is reported
// instead of err.
func (s *source) damage(err error) error {
	for {
		if _, e := s.next(); e != nil {
			var mismatch *MismatchError
			if errors.As(e, &mismatch) && !errors.As(err, &mismatch) {
				return errors.Join(e, err)
			}
			return err
		}
	}
}

// sum computes a digest, or nothing if none is wanted.
type sum struct{ hash.Hash }

func newSum(want digest.Digest) sum {
	if want == "" {
		return sum{}
	}
	if want.Algorithm() != digest.SHA256 && want.Algorithm().Available() {
		return sum{want.Algorithm().Hash()}
	}
	return sum{sha256.New()}
}

func (s sum) Write(p []byte) {
	if s.Hash != nil {
		_, _ = s.Hash.Write(p) // never fails
	}
}

// check returns io.EOF if the size and digest match.
func (s sum) check(what string, b Blob, size int64) error {
	if b.rewritten() {
		return io.EOF
	}
	want := b.Digest
	if what == "blob" && b.Size >= 0 && size != b.Size {
		return manifest.SizeMismatch(what, size, b.Size)
	}
	if what == "archive" {
		want = b.DiffID
	}
	if s.Hash == nil {
		return io.EOF
	}
	if got := digest.NewDigest(want.Algorithm(), s.Hash); got != want {
		return manifest.Mismatch(what, got, want)
	}
	return io.EOF
}
