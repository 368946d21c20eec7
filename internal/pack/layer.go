package pack

import (
	"context"
	"crypto/sha256"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"osbuild-containers/internal/progress"
)

// beat is the time between two progress lines of a layer.
const beat = 10 * time.Second

// packer packs one layer and logs progress.
type packer struct {
	logf  Logf
	label string
}

// layer packs the tree at path into a blob of the archive.
func (p *packer) layer(ctx context.Context, a *archive, path string, img Image) (v1.Descriptor, digest.Digest, error) {
	began := time.Now()
	w := a.blob(img.Compression.mediaType())
	diff := sha256.New()
	z, err := compress(w, diff, img.Compression)
	if err != nil {
		return v1.Descriptor{}, "", err
	}
	stop := p.follow(z)
	t := &treeWriter{ctx: ctx, epoch: img.Epoch, note: p.note}
	err = t.write(z, path)
	if e := z.Close(); err == nil {
		err = e
	}
	stop()
	if err != nil {
		return v1.Descriptor{}, "", err
	}
	desc, err := w.finish()
	if err != nil {
		return v1.Descriptor{}, "", err
	}
	p.note("%s, %s packed into %s in %.1f s", progress.Count(t.entries, "entry"),
		progress.Bytes(z.size.Load()), progress.Bytes(desc.Size), time.Since(began).Seconds())
	return desc, digest.NewDigest(digest.SHA256, diff), nil
}

// note writes a line about the layer.
func (p *packer) note(format string, args ...any) {
	if p.logf != nil {
		p.logf(p.label+": "+format, args...)
	}
}

// follow logs from time to time how much has been packed, until stop is called.
func (p *packer) follow(z *compressor) (stop func()) {
	began, quit := time.Now(), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		t := time.NewTicker(beat)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				p.note("%s packed in %.0f s", progress.Bytes(z.size.Load()), time.Since(began).Seconds())
			case <-quit:
				return
			}
		}
	})
	return func() { close(quit); wg.Wait() }
}
