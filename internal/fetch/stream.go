package fetch

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/image"
	"osbuild-containers/internal/image/registry"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/request"
	"osbuild-containers/internal/retry"
)

// Streams open images that are not to be kept, but sent elsewhere as they come. They are read as
// those that are fetched: verified, and tried again where that may help.
type Streams struct{ job *job }

// NewStreams returns the Streams with these options.
func NewStreams(o request.Options, log *progress.Reporter) *Streams {
	return &Streams{newJob(&request.Request{Options: o}, log)}
}

// Stream is an open image or manifest list. Its methods may be called at the same time; Close comes
// last.
type Stream struct{ s *session }

// Open opens the image, or the manifest list, with the digest that img pins.
func (s *Streams) Open(ctx context.Context, img request.Image, log *progress.Item) (*Stream, error) {
	it := s.job.newItem(request.Item{ID: img.Digest, Image: img})
	it.log = log
	session, err := it.newSession(ctx)
	if err != nil {
		return nil, err
	}
	return &Stream{session}, nil
}

// Close closes the image.
func (s *Stream) Close() error { return s.s.close() }

// Manifest reads a manifest that the list names, or what is pinned if d is empty. Where it is not one of
// an image, its bytes are returned with the error.
func (s *Stream) Manifest(ctx context.Context, d digest.Digest) ([]byte, *manifest.Manifest, error) {
	return s.s.manifest(ctx, d)
}

// Allowed checks policy.json for a manifest, raw, that the list names, or for what is pinned if d is empty.
func (s *Stream) Allowed(ctx context.Context, d digest.Digest, raw []byte) error {
	_, err := s.s.allowed(ctx, d, raw)
	return err
}

// Blob reads a blob. At its end the reader returns a manifest.MismatchError if the bytes were not those of
// the blob.
func (s *Stream) Blob(ctx context.Context, d manifest.Descriptor) io.ReadCloser {
	b := &streamed{ctx: ctx, s: s.s, d: d, hash: d.Digest.Algorithm().Hash()}
	b.op = s.s.it.tries.New(s.s.it.logTry("blob " + progress.Short(d.Digest.String())))
	b.op.Renew = func(ctx context.Context) error { return s.s.renew(ctx, b.op, b.src) }
	return b
}

// streamed is a blob that is being read; where a connection broke, the next one continues.
type streamed struct {
	ctx     context.Context
	s       *session
	d       manifest.Descriptor
	op      *retry.Operation
	src     image.Source
	r       io.ReadCloser // nil: not open
	w       *retry.Watch  // of r
	at      int64
	noRange bool // the server cannot continue in the middle
	hash    hash.Hash
}

// Read implements io.Reader.
func (b *streamed) Read(p []byte) (n int, err error) {
	if b.at == b.d.Size {
		return 0, b.verify()
	}
	b.op.Restart() // the time since the last Read is not the registry's
	err = b.op.Do(b.ctx, func(context.Context) (err error) {
		n, err = b.try(p[:min(int64(len(p)), b.d.Size-b.at)])
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("blob %s: %w", b.d.Digest, err)
	}
	b.hash.Write(p[:n])
	b.at += int64(n)
	return n, nil
}

func (b *streamed) verify() error {
	if got := digest.NewDigest(b.d.Digest.Algorithm(), b.hash); got != b.d.Digest {
		wrong := fmt.Errorf("blob %s: %w", b.d.Digest, manifest.Mismatch("", got, b.d.Digest))
		if b.src != nil && image.Elsewhere(b.src, registry.Blob, b.d.Digest) {
			return &ElsewhereError{wrong}
		}
		return wrong
	}
	return io.EOF
}

// ElsewhereError is the error of a blob that does not match, and that another location may have.
type ElsewhereError struct{ error }

func (e *ElsewhereError) Unwrap() error { return e.error }

// try reads some bytes, from a new connection where there is none.
func (b *streamed) try(p []byte) (int, error) {
	if b.r == nil {
		err := b.open()
		if errors.Is(err, registry.ErrRange) && !b.noRange {
			b.noRange = true
			err = b.open()
		}
		if errors.Is(err, registry.ErrContent) { // a second look
			err = b.open()
		}
		if err != nil {
			return 0, err
		}
	}
	b.w.Resume()
	n, err := b.r.Read(p)
	b.w.Moved(n)
	if n > 0 || err == nil {
		b.op.Reached(b.at + int64(n))
		b.w.Pause()
		return n, nil
	}
	if err == io.EOF {
		err = fmt.Errorf("answer ended early: got %d bytes, want %d%.0w", b.at, b.d.Size, io.ErrUnexpectedEOF)
	}
	return 0, b.drop(err)
}

// open opens the blob where it was left, or goes there from its beginning.
func (b *streamed) open() error {
	offset := b.at
	if b.noRange {
		offset = 0
	}
	b.src = b.s.source()
	b.w = b.op.Watch(b.ctx)
	r, start, err := b.src.Blob(b.w.Traced(), b.d, offset)
	if err != nil {
		return b.w.Stop(err)
	}
	b.r = r
	defer b.w.Pause()
	if _, err := io.CopyN(io.Discard, kicking{r, b.w}, b.at-start); err != nil {
		return b.drop(fmt.Errorf("answer ended early: %w%.0w", err, io.ErrUnexpectedEOF))
	}
	return nil
}

func (b *streamed) drop(err error) error {
	b.r.Close()
	b.r = nil
	return b.w.Stop(err)
}

// Close implements io.Closer.
func (b *streamed) Close() error {
	if b.r != nil {
		_ = b.drop(nil)
	}
	return nil
}

// kicking says that bytes come.
type kicking struct {
	io.Reader
	w *retry.Watch
}

func (k kicking) Read(p []byte) (int, error) {
	n, err := k.Reader.Read(p)
	k.w.Moved(n)
	return n, err
}
