package fetch

import (
	"context"
	"fmt"
	"hash"
	"io"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/image"
	"osbuild-containers/internal/image/registry"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/request"
)

// Streams opens images that are sent elsewhere as they arrive instead of being stored. Like fetched images they are
// verified, and read with retries.
type Streams struct{ job *job }

// NewStreams returns a Streams that uses these options.
func NewStreams(o request.Options, log *progress.Reporter) *Streams {
	return &Streams{newJob(&request.Request{Options: o}, log)}
}

// Stream is an open image or manifest list. Its methods are safe for concurrent use, except that Close must come last.
type Stream struct{ s *session }

// Open opens the image or manifest list with the digest pinned by img.
func (s *Streams) Open(ctx context.Context, img request.Image, log *progress.Item) (*Stream, error) {
	it := s.job.newItem(request.Item{ID: img.Digest, Image: img})
	it.log = log
	session, err := it.newSession(ctx)
	if err != nil {
		return nil, err
	}
	return &Stream{session}, nil
}

// Close closes the stream.
func (s *Stream) Close() error { return s.s.close() }

// Manifest reads the manifest with digest d, which the list names, or the pinned one if d is empty. Bytes that are not
// the manifest of an image are returned with the error.
func (s *Stream) Manifest(ctx context.Context, d digest.Digest) ([]byte, *manifest.Manifest, error) {
	return s.s.manifest(ctx, d)
}

// Allowed checks policy.json for manifest raw, which has digest d or is the pinned one if d is empty.
func (s *Stream) Allowed(ctx context.Context, d digest.Digest, raw []byte) error {
	_, err := s.s.allowed(ctx, d, raw)
	return err
}

// Blob reads a blob. At EOF the reader returns a *DamagedError if the bytes do not match the digest.
func (s *Stream) Blob(ctx context.Context, d manifest.Descriptor) io.ReadCloser {
	r := s.s.newReader(ctx, d, 0, s.s.it.logTry("blob "+progress.Short(d.Digest.String())))
	return &verified{r, d.Digest.Algorithm().Hash()}
}

// verified is a reader that verifies at EOF.
type verified struct {
	*reader
	hash hash.Hash
}

// Read implements io.Reader.
func (v *verified) Read(p []byte) (int, error) {
	v.op.Restart() // the time since the last Read is the caller's
	n, err := v.reader.Read(p)
	v.hash.Write(p[:n])
	if err == io.EOF {
		err = v.verify()
	}
	if err != nil && err != io.EOF {
		return n, fmt.Errorf("blob %s: %w", v.d.Digest, err)
	}
	return n, err
}

func (v *verified) verify() error {
	got := digest.NewDigest(v.d.Digest.Algorithm(), v.hash)
	if got == v.d.Digest {
		return io.EOF
	}
	elsewhere := v.src != nil && image.Elsewhere(v.src, registry.Blob, v.d.Digest)
	return &DamagedError{manifest.Mismatch("", got, v.d.Digest), elsewhere}
}

// DamagedError is returned for a blob that does not match its digest.
type DamagedError struct {
	Err       error
	Elsewhere bool // another location may have it and is tried next
}

func (e *DamagedError) Error() string { return e.Err.Error() }
func (e *DamagedError) Unwrap() error { return e.Err }
