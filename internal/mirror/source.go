package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/scratch"
)

// blobSource is where a blob is read that may be sent several times: a cache that has it, or its registry. If the mirror may
// not mount, a copy is kept in the meantime, so that the registry is read only once.
type blobSource struct {
	run   *run
	blob  *blob
	keep  bool
	kept  *scratch.File // copy; nil if none is kept
	whole bool          // kept is complete
}

// bar returns the progress bar of the blob.
func (w *want) bar(b *blob) *progress.Blob {
	u := w.units[0]
	kind := "layer"
	if strings.HasSuffix(b.MediaType, "+json") {
		kind = "config"
	}
	return u.item.Blob(kind, 0, 0, b.Digest.String(), b.Size)
}

// send sends the blob to the repository that wants it.
func (s *blobSource) send(ctx context.Context, w *want) error {
	bar := w.bar(s.blob)
	note := s.run.note(w.units[0].item, "blob "+progress.Short(s.blob.Digest.String()))
	err := w.to.put(ctx, s.blob.Descriptor, note, func(ctx context.Context) (io.ReadCloser, error) {
		bar.Begin("sending")
		bar.Reset(0)
		r, err := s.open(ctx, w.units[0])
		if err != nil {
			return nil, err
		}
		return progressReader{r, bar}, nil
	})
	if err == nil {
		bar.Done()
	}
	return err
}

// open opens the blob, verified.
func (s *blobSource) open(ctx context.Context, u *unit) (io.ReadCloser, error) {
	b := s.blob
	if s.whole {
		return verify(b.Digest, io.NopCloser(io.NewSectionReader(s.kept, 0, b.Size)), nil), nil
	}
	if c := s.run.Cache; c != nil && !b.damaged.Load() {
		if f, err := c.OpenBlob(b.id, b.Digest, b.Size); err == nil {
			return verify(b.Digest, f, func() { b.damaged.Store(true) }), nil
		}
	}
	r := u.stream.Blob(ctx, b.Descriptor)
	if !s.keep {
		return r, nil
	}
	if err := s.resetCopy(); err != nil {
		return nil, err
	}
	return &teeReader{r, s}, nil
}

// resetCopy empties the copy, or creates its file.
func (s *blobSource) resetCopy() error {
	if s.kept != nil {
		if err := s.kept.Truncate(0); err != nil {
			return err
		}
		_, err := s.kept.Seek(0, io.SeekStart)
		return err
	}
	f, err := scratch.NewFile()
	if err != nil {
		return err
	}
	s.kept = f
	return nil
}

func (s *blobSource) close() {
	if s.kept != nil {
		s.kept.Close()
	}
}

// teeReader copies what is read to the kept file.
type teeReader struct {
	io.ReadCloser
	source *blobSource
}

// Read implements io.Reader.
func (t *teeReader) Read(p []byte) (int, error) {
	n, err := t.ReadCloser.Read(p)
	if _, e := t.source.kept.Write(p[:n]); e != nil {
		return 0, e
	}
	if err == io.EOF {
		t.source.whole = true
	}
	return n, err
}

// verified is a file that is verified while it is read.
type verified struct {
	io.ReadCloser
	want  digest.Digest
	sum   digest.Digester
	wrong func()
}

func verify(want digest.Digest, r io.ReadCloser, wrong func()) io.ReadCloser {
	return &verified{r, want, want.Algorithm().Digester(), wrong}
}

// Read implements io.Reader.
func (v *verified) Read(p []byte) (int, error) {
	n, err := v.ReadCloser.Read(p)
	_, _ = v.sum.Hash().Write(p[:n])
	if err == io.EOF && v.sum.Digest() != v.want || err != nil && err != io.EOF {
		if v.wrong != nil {
			v.wrong()
		}
		return n, fmt.Errorf("blob %s: damaged on this machine: %w", v.want, errors.Join(manifest.Mismatch("", v.sum.Digest(), v.want), err))
	}
	return n, err
}

// progressReader reports the bytes read to a progress bar.
type progressReader struct {
	io.ReadCloser
	bar *progress.Blob
}

// Read implements io.Reader.
func (s progressReader) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	s.bar.Add(int64(n))
	return n, err
}
