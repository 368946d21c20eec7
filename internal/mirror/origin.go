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

// origin is where a blob is read that may be sent several times: a cache that has it, or its registry. If the mirror may
// not mount, a copy is kept in the meantime, so that the registry is read only once.
type origin struct {
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
func (o *origin) send(ctx context.Context, w *want) error {
	bar := w.bar(o.blob)
	note := o.run.note(w.units[0].item, "blob "+progress.Short(o.blob.Digest.String()))
	err := w.to.put(ctx, o.blob.Descriptor, note, func(ctx context.Context) (io.ReadCloser, error) {
		bar.Begin("sending")
		bar.Reset(0)
		r, err := o.open(ctx, w.units[0])
		if err != nil {
			return nil, err
		}
		return shown{r, bar}, nil
	})
	if err == nil {
		bar.Done()
	}
	return err
}

// open opens the blob, verified.
func (o *origin) open(ctx context.Context, u *unit) (io.ReadCloser, error) {
	b := o.blob
	if o.whole {
		return verify(b.Digest, io.NopCloser(io.NewSectionReader(o.kept, 0, b.Size)), nil), nil
	}
	if c := o.run.Cache; c != nil && !b.damaged.Load() {
		if f, err := c.OpenBlob(b.id, b.Digest, b.Size); err == nil {
			return verify(b.Digest, f, func() { b.damaged.Store(true) }), nil
		}
	}
	r := u.stream.Blob(ctx, b.Descriptor)
	if !o.keep {
		return r, nil
	}
	if err := o.empty(); err != nil {
		return nil, err
	}
	return &keeping{r, o}, nil
}

// empty creates an unnamed file for the copy.
func (o *origin) empty() error {
	if o.kept != nil {
		if err := o.kept.Truncate(0); err != nil {
			return err
		}
		_, err := o.kept.Seek(0, io.SeekStart)
		return err
	}
	f, err := scratch.NewFile()
	if err != nil {
		return err
	}
	o.kept = f
	return nil
}

func (o *origin) close() {
	if o.kept != nil {
		o.kept.Close()
	}
}

// keeping copies what is read to the kept file.
type keeping struct {
	io.ReadCloser
	o *origin
}

// Read implements io.Reader.
func (k *keeping) Read(p []byte) (int, error) {
	n, err := k.ReadCloser.Read(p)
	if _, e := k.o.kept.Write(p[:n]); e != nil {
		return 0, e
	}
	if err == io.EOF {
		k.o.whole = true
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

// shown reports the bytes read to a progress bar.
type shown struct {
	io.ReadCloser
	bar *progress.Blob
}

// Read implements io.Reader.
func (s shown) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	s.bar.Add(int64(n))
	return n, err
}
