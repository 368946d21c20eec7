package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"time"

	"github.com/containers/storage"
	graphdriver "github.com/containers/storage/drivers"
	"github.com/containers/storage/pkg/archive"
	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/image/local"
	"osbuild-containers/internal/layer"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/progress"
)

// readAhead is how much of archives may be decompressed before it is unpacked, in bytes.
const readAhead = 32 << 20

// chain is a layer on top of those below it.
type chain struct {
	id     string // as the library computes it
	parent string // id of the layer below; empty for the lowest
	blob   layer.Blob
	label  string

	compression archive.Compression

	staged  *graphdriver.DriverWithDifferOutput
	began   time.Time
	took    time.Duration
	bytes   int64
	err     error
	stageOK chan struct{} // closed when staged or err is set
}

// plan is what the image's layers are in the store.
func (w *writer) plan(ctx context.Context, img *local.Image) ([]*chain, error) {
	config, err := img.Config(ctx)
	if err != nil {
		return nil, err
	}
	layers := img.Manifest().Layers
	diffs, err := diffIDs(config, len(layers))
	if err != nil {
		return nil, fmt.Errorf("image %q: %w", img.Name(), err)
	}
	chains := make([]*chain, 0, len(layers))
	parent := ""
	for i, d := range layers {
		c := &chain{
			id: chainID(parent, diffs[i]), parent: parent, stageOK: make(chan struct{}),
			blob:  layer.Blob{Digest: d.Digest, DiffID: diffs[i], Size: d.Size, Open: opener(ctx, img, d)},
			label: fmt.Sprintf("image %q: layer %d/%d %s", img.Name(), i+1, len(layers), progress.Short(d.Digest.String())),
		}
		if c.compression, err = compression(c.blob); err != nil {
			return nil, fmt.Errorf("%s: %w", c.label, err)
		}
		chains = append(chains, c)
		parent = c.id
	}
	return chains, nil
}

func opener(ctx context.Context, img *local.Image, d manifest.Descriptor) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return img.Blob(ctx, d) }
}

// compression is what the first bytes say.
func compression(b layer.Blob) (archive.Compression, error) {
	r, err := b.Open()
	if err != nil {
		return archive.Uncompressed, err
	}
	defer r.Close()
	head := make([]byte, 10)
	n, err := io.ReadFull(r, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && err != io.EOF {
		return archive.Uncompressed, err
	}
	return archive.DetectCompression(head[:n]), nil
}

// chainID is the id that the library gives to the layer.
func chainID(parent string, diff digest.Digest) string {
	if parent == "" {
		return diff.Encoded()
	}
	return digest.FromString(parent + "+" + diff.Encoded()).Encoded()
}

// layers unpacks the layers side by side and adds them to the store in order.
func (w *writer) layers(ctx context.Context, chains []*chain) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	budget := layer.NewBudget(readAhead)
	if w.opt.Driver != "overlay" {
		return w.oneByOne(ctx, chains, budget)
	}
	var wg sync.WaitGroup
	work := make(chan *chain, len(chains))
	for _, c := range chains {
		work <- c
	}
	close(work)
	for range min(len(chains), max(2, runtime.GOMAXPROCS(0))) {
		wg.Go(func() {
			for c := range work {
				w.stage(ctx, c, budget)
				close(c.stageOK)
			}
		})
	}
	var failed error
	for _, c := range chains {
		<-c.stageOK
		if failed == nil {
			failed = w.apply(c)
			if failed != nil {
				cancel() // the others end soon
			}
		}
		if failed != nil && c.staged != nil {
			_ = w.store.CleanupStagedLayer(c.staged)
		}
	}
	wg.Wait()
	return failed
}

// stage unpacks a layer into a folder that is not yet in the store.
func (w *writer) stage(ctx context.Context, c *chain, budget *layer.Budget) {
	if c.err = context.Cause(ctx); c.err != nil {
		return
	}
	c.began = time.Now()
	s := layer.Start(ctx, c.blob, budget, layer.Limits{})
	defer s.Close()
	d := &differ{stream: s, blob: c.blob}
	if w.opt.Epoch != nil {
		d.clamp = w.clamp
	}
	c.staged, c.err = w.store.PrepareStagedLayer(nil, d)
	if d.err != nil { // the reason, not what others made of it
		c.err = d.err
	}
	if c.err != nil {
		if c.staged != nil && c.staged.Target == "" {
			c.staged = nil
		}
		return
	}
	c.bytes, c.took = s.Bytes(), time.Since(c.began)
}

// apply adds a staged layer to the store.
func (w *writer) apply(c *chain) error {
	if c.err != nil {
		return fmt.Errorf("%s: %w", c.label, c.err)
	}
	_, err := w.store.ApplyStagedLayer(storage.ApplyStagedLayerOptions{
		ID: c.id, ParentLayer: c.parent, DiffOutput: c.staged,
		DiffOptions: &graphdriver.ApplyDiffWithDifferOpts{},
	})
	if err != nil {
		return fmt.Errorf("%s: %w", c.label, err)
	}
	c.staged = nil
	w.told(c)
	return nil
}

func (w *writer) told(c *chain) {
	w.log.Note("%s: %s, %.1f s", c.label, progress.Bytes(c.bytes), c.took.Seconds())
}

// oneByOne is for drivers that copy what is below a layer: only reading is ahead.
func (w *writer) oneByOne(ctx context.Context, chains []*chain, budget *layer.Budget) error {
	streams := make([]*layer.Stream, len(chains))
	defer func() {
		for _, s := range streams {
			if s != nil {
				s.Close()
			}
		}
	}()
	for i, c := range chains {
		for k := i; k < min(i+2, len(chains)); k++ {
			if streams[k] == nil {
				streams[k] = layer.Start(ctx, chains[k].blob, budget, layer.Limits{})
			}
		}
		c.began = time.Now()
		r := &remember{r: streams[i]}
		_, _, err := w.store.PutLayer(c.id, c.parent, nil, "", false, &storage.LayerOptions{
			OriginalDigest: c.blob.Digest, OriginalSize: &c.blob.Size, UncompressedDigest: c.blob.DiffID,
		}, r)
		if r.err != nil {
			err = r.err
		}
		if err == nil {
			err = r.rest()
		}
		if err != nil {
			_ = w.store.DeleteLayer(c.id)
			return fmt.Errorf("%s: %w", c.label, err)
		}
		c.bytes, c.took = streams[i].Bytes(), time.Since(c.began)
		w.told(c)
		streams[i].Close()
		streams[i] = nil
	}
	return nil
}

// remember keeps what went wrong with reading, which others replace with what that led to.
type remember struct {
	r   io.Reader
	err error
}

func (r *remember) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && err != io.EOF {
		r.err = err
	}
	return n, err
}

// rest reads what nobody wanted, up to the end, where the digests are checked.
func (r *remember) rest() error {
	_, err := io.Copy(io.Discard, r)
	return err
}
