package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/containers/storage"
	graphdriver "github.com/containers/storage/drivers"
	"github.com/containers/storage/pkg/archive"
	"github.com/opencontainers/go-digest"
	tsstorage "github.com/vbatts/tar-split/tar/storage"

	"osbuild-containers/internal/layer"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/panics"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/userns"
)

// readAhead is how much of the archives may be decompressed ahead of unpacking, in bytes.
const readAhead = 32 << 20

// chain is a layer together with those below it.
type chain struct {
	id     string // computed like the library does
	parent string // id of the layer below; empty for the lowest
	blob   layer.Blob
	image  *layer.Tally // of the first image with this layer
	label  string

	compression archive.Compression

	staged   *graphdriver.DriverWithDifferOutput
	tarSplit *splitFile
	lost     userns.Losses
	began    time.Time
	took     time.Duration
	bytes    int64
	err      error
	stageOK  chan struct{} // closed when staged or err is set
}

// plan returns the layers of the image in the form they get in the store.
func (w *writer) plan(ctx context.Context, img Image) ([]*chain, error) {
	config, err := img.Config(ctx)
	if err != nil {
		return nil, err
	}
	layers := img.Manifest().Layers
	diffs, err := img.Manifest().LayerDiffIDs(config)
	if err != nil {
		return nil, fmt.Errorf("image %q: %w", img.Name(), err)
	}
	chains := make([]*chain, 0, len(layers))
	parent := ""
	image := layer.NewTally(layer.Limits{})
	for i, d := range layers {
		c := &chain{
			id: chainID(parent, diffs[i]), parent: parent, image: image, stageOK: make(chan struct{}),
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

func opener(ctx context.Context, img Image, d manifest.Descriptor) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return img.Blob(ctx, d) }
}

// compression detects the compression of a layer from its first bytes.
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

// chainID returns the library's id for the layer.
func chainID(parent string, diff digest.Digest) string {
	if parent == "" {
		return diff.Encoded()
	}
	return digest.FromString(parent + "+" + diff.Encoded()).Encoded()
}

// layers unpacks the layers in parallel and adds them to the store in order.
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
				cancel() // stop the others
			}
		}
		if failed != nil && c.staged != nil {
			_ = w.store.CleanupStagedLayer(c.staged)
		}
		if c.tarSplit != nil {
			c.tarSplit.Close()
		}
	}
	wg.Wait()
	return failed
}

// stage unpacks a layer into a directory outside the store.
func (w *writer) stage(ctx context.Context, c *chain, budget *layer.Budget) {
	if c.err = context.Cause(ctx); c.err != nil {
		return
	}
	c.began = time.Now()
	s := layer.Start(ctx, c.blob, budget, c.image)
	defer s.Close()
	d := &differ{stream: s, chain: c, dir: w.layersDir(), ignoreOwners: w.opt.IgnoreOwners}
	if w.opt.Epoch != nil {
		d.clamp = w.clamp
	}
	c.err = panics.Catch(func() (err error) {
		c.staged, err = w.store.PrepareStagedLayer(nil, d)
		return err
	})
	if d.err != nil {
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
	// Write the tar-split data first: a layer without it could not be read again. If the process dies in between, the
	// next one replaces it.
	path := w.tarSplitPath(c.id)
	if err := c.tarSplit.publish(path); err != nil {
		return fmt.Errorf("%s: %w", c.label, err)
	}
	_, err := w.store.ApplyStagedLayer(storage.ApplyStagedLayerOptions{
		ID: c.id, ParentLayer: c.parent, DiffOutput: c.staged,
		DiffOptions: &graphdriver.ApplyDiffWithDifferOpts{},
	})
	if err != nil {
		os.Remove(path)
		return fmt.Errorf("%s: %w", c.label, err)
	}
	c.staged = nil
	w.logLayer(c)
	return nil
}

// layersDir returns the store's directory of layer metadata.
func (w *writer) layersDir() string { return filepath.Join(w.opt.Root, w.opt.Driver+"-layers") }

func (w *writer) tarSplitPath(id string) string {
	return filepath.Join(w.layersDir(), id+".tar-split.gz")
}

func (w *writer) logLayer(c *chain) {
	w.lost.Merge(&c.lost)
	w.log.Note("%s: %s, %.1f s", c.label, progress.Bytes(c.bytes), c.took.Seconds())
}

// oneByOne adds layers for drivers that copy the layer below: only reading happens ahead.
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
				streams[k] = layer.StartAhead(ctx, chains[k].blob, budget, chains[k].image)
			}
		}
		c.began = time.Now()
		streams[i].Prioritize()
		if err := w.put(c, streams[i]); err != nil {
			_ = w.store.DeleteLayer(c.id)
			return fmt.Errorf("%s: %w", c.label, err)
		}
		c.bytes, c.took = streams[i].Bytes(), time.Since(c.began)
		w.logLayer(c)
		streams[i].Close()
		streams[i] = nil
	}
	return nil
}

// unfinished begins the name that a layer has until the store keeps the layer's archive as it was.
const unfinished = "org.osbuild.unfinished-"

// removeUnfinished removes the layer if a killed process left it unfinished, and reports whether it did. No other layer is
// on top of such a layer.
func (w *writer) removeUnfinished(l storage.Layer) (bool, error) {
	for _, name := range l.Names {
		if strings.HasPrefix(name, unfinished) {
			return true, w.store.DeleteLayer(l.ID)
		}
	}
	return false, nil
}

// put makes the store unpack a layer.
func (w *writer) put(c *chain, s *layer.Stream) error {
	o := newOwners(s, c.image, w.layersDir(), w.opt.IgnoreOwners)
	var names []string
	if o.devices != nil {
		below, err := w.devicesOf(c.parent)
		if err != nil {
			return err
		}
		o.devices = newDevices(below)
		w.devices[c.id] = o.devices
		names = []string{unfinished + c.id}
	}
	out, to := io.Pipe()
	var put error
	var work sync.WaitGroup
	work.Go(func() {
		put = panics.Catch(func() error {
			_, _, err := w.store.PutLayer(c.id, c.parent, names, "", false, &storage.LayerOptions{
				OriginalDigest: c.blob.Digest, OriginalSize: &c.blob.Size, UncompressedDigest: c.blob.DiffID,
			}, fullReader{out})
			if err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, out) // to EOF, where the digests are checked
			return err
		})
		out.CloseWithError(put)
	})
	n, err := c.pass(s, to, o)
	if n != nil {
		defer n.Close()
	}
	c.lost = o.lost
	to.CloseWithError(err)
	work.Wait()
	if err == nil {
		err = put
	}
	if err == nil && n != nil {
		err = n.publish(w.tarSplitPath(c.id))
	}
	if err == nil && names != nil {
		err = w.store.RemoveNames(c.id, names)
	}
	return err
}

// A fullReader fills the buffer of every Read but the last. The library's tar-split data divides the padding at the end of an
// archive as it was read, so without this it would depend on how the archive arrives: in a user namespace in other pieces than
// for root.
type fullReader struct{ io.Reader }

func (r fullReader) Read(b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var more int
		more, err = r.Reader.Read(b[n:])
		n += more
	}
	return n, err
}

// pass writes the archive to the store. The store detects compression by itself, so an archive that starts like a
// compressed file is refused: its content has not been checked. pass compresses the headers to bound what the store
// keeps in memory.
//
// If the archive had to be edited, pass returns the tar-split data to replace the store's own.
func (c *chain) pass(s *layer.Stream, to *io.PipeWriter, o *owners) (n *splitFile, err error) {
	write, end := o.devices.edit(into(to))
	begun := false
	var headers bytes.Buffer
	entries := s.Pass(func(piece []byte) error {
		if !begun && archive.DetectCompression(piece) != archive.Uncompressed {
			return errors.New("the archive in the layer begins like something compressed")
		}
		begun = true
		return write(piece)
	}, &headers)
	if o.devices == nil {
		return nil, c.keep(entries, &headers, o)
	}
	if n, err = newSplitFile(o.disk, maxHeaders); err != nil {
		return nil, err
	}
	if err = split(context.Background(), entries, &headers, tsstorage.NewJSONPacker(n.zip), o); err == nil {
		err = end()
	}
	if err == nil && o.devices.any {
		return n, n.finish()
	}
	return nil, errors.Join(err, n.Close())
}

// keep reads the entries, within the limit for their headers.
func (*chain) keep(entries *layer.Reader, headers *bytes.Buffer, o *owners) error {
	kept := newZip(&bounded{io.Discard, maxHeaders, maxHeaders})
	for {
		h, e, err := entries.NextHeader()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = o.add(h, e)
		}
		if err == nil {
			_, err = kept.Write(headers.Bytes())
			headers.Reset()
		}
		if err != nil {
			return err
		}
	}
}
