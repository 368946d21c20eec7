package bundle

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/image"
	"osbuild-containers/internal/image/policy"
	"osbuild-containers/internal/image/schema1"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/ocilayout"
	"osbuild-containers/internal/panics"
	"osbuild-containers/internal/progress"
)

// A State is the outcome for an image or a list.
type State string

// States.
const (
	Added  State = "imported"
	Cached State = "cached" // already in the cache
	Failed State = "failed"
)

// A Result is the outcome of the import of one image or index.
type Result struct {
	Kind     string        // image or list
	ID       digest.Digest // image id, or digest of a list
	Manifest digest.Digest // of an image
	Platform string        // of an image; "" if its config is not in what is imported
	Names    []string
	State    State
	Bytes    int64 // bytes copied
	Reused   int64 // bytes found in the cache
	Err      error // why it failed
}

// Imported is the outcome of importing a file or directory.
type Imported struct {
	Format  string // oci, oci-archive, docker-archive or dir
	Results []Result
}

// maxParallelImports limits the images imported in parallel: each waits for the disk at its end.
const maxParallelImports = 4

// ImportOptions change what an import does. The zero value is an ordinary import.
type ImportOptions struct {
	Repair bool // verify every byte of these images that the cache has, and replace damaged files
	DryRun bool // write nothing: the Results are what would be. Blobs are not read, so that damage is not found
}

// Import imports the images and indexes of a file or a directory into the cache. One that fails does not affect the others;
// the returned error is about input that cannot be read at all.
func Import(ctx context.Context, c *cache.Cache, path string, o ImportOptions, log *progress.Reporter) (*Imported, error) {
	image.RouteLogs(log.Note)
	from, err := open(ctx, path)
	if err != nil {
		return nil, err
	}
	return importFrom(ctx, c, from, o, log)
}

// ImportStream is Import for an archive read from a stream.
func ImportStream(ctx context.Context, c *cache.Cache, r io.Reader, o ImportOptions, log *progress.Reporter) (*Imported, error) {
	image.RouteLogs(log.Note)
	from, err := readFrom(ctx, r)
	if err != nil {
		return nil, err
	}
	return importFrom(ctx, c, from, o, log)
}

func importFrom(ctx context.Context, c *cache.Cache, from *input, o ImportOptions, log *progress.Reporter) (*Imported, error) {
	if from.tree != nil {
		defer from.tree.Close()
	}
	for _, note := range from.notes {
		log.Note("%s", note)
	}
	in := &importer{
		cache: c, from: from, log: log, began: time.Now(), ImportOptions: o,
		slots:     semaphore.NewWeighted(int64(max(2, runtime.GOMAXPROCS(0)))),
		seen:      map[digest.Digest]bool{},
		published: sync.OnceValue(func() map[digest.Digest]digest.Digest { return publishedBlobs(c) }),
	}
	defer in.close()
	if !o.DryRun && in.copies() {
		if err := c.CheckWritable(); err != nil {
			return nil, err
		}
	}

	done := &Imported{Format: from.format, Results: make([]Result, len(from.images))}
	images := in.conflicts()
	var g errgroup.Group // without its context: a failed image must not cancel the others
	g.SetLimit(maxParallelImports)
	for n, img := range from.images {
		g.Go(func() error {
			done.Results[n] = in.image(ctx, img, images[n])
			return nil
		})
	}
	_ = g.Wait()
	for _, r := range from.broken {
		log.Item(from.path).Fail(hint.Text(r.Err, hint.Flags))
		done.Results = append(done.Results, r)
	}
	for _, l := range from.lists {
		r := Result{Kind: "list", ID: l.Digest, Names: from.named(l.Names), State: Added, Bytes: int64(len(l.Raw))}
		if _, err := c.ReadFile(l.Digest); err == nil {
			r.State, r.Bytes, r.Reused = Cached, 0, r.Bytes
			if !o.DryRun {
				err = c.Sync(ctx, nil, []digest.Digest{l.Digest})[l.Digest]
			}
			if err != nil {
				r.fail(fmt.Errorf("manifest list %s: %w", l.Digest, err))
			}
		} else if err := in.list(ctx, l.Raw); err != nil {
			r.fail(fmt.Errorf("manifest list %s: %w", l.Digest, err))
			log.Item(from.path).Fail(hint.Text(r.Err, hint.Flags))
		}
		done.Results = append(done.Results, r)
	}
	return done, nil
}

// importer imports the images of an input.
type importer struct {
	cache *cache.Cache
	from  *input
	log   *progress.Reporter
	began time.Time
	ImportOptions
	slots *semaphore.Weighted // limits blobs read and hashed in parallel

	mu   sync.Mutex
	pool *cache.Pool            // opened at the first copy
	seen map[digest.Digest]bool // blobs that a dry run would have copied

	published func() map[digest.Digest]digest.Digest
}

// close closes the pool, if it was opened.
func (in *importer) close() {
	if in.pool != nil {
		in.pool.Close()
	}
}

// conflicts returns for each image why it conflicts with an earlier one, or nil.
func (in *importer) conflicts() []error {
	errs := make([]error, len(in.from.images))
	first := map[digest.Digest]*foundImage{}
	for n, img := range in.from.images {
		other := first[img.id]
		switch {
		case other == nil:
			first[img.id] = img
		case !bytes.Equal(other.raw, img.raw):
			errs[n] = hint.Add(fmt.Errorf("it is the image %s in another form, %s, and a cache holds one", other.title(), digest.FromBytes(other.raw)),
				"export or save one of them")
		}
	}
	return errs
}

func (r *Result) fail(err error) {
	r.State, r.Err = Failed, err
}

// list publishes a manifest list.
func (in *importer) list(ctx context.Context, raw []byte) error {
	if err := in.allowed(ctx, raw, nil); err != nil || in.DryRun {
		return err
	}
	return in.withHint(in.cache.PublishFile(ctx, digest.FromBytes(raw), raw))
}

// allowed checks policy.json.
func (in *importer) allowed(ctx context.Context, raw []byte, signatures [][]byte) error {
	err := policy.File{Transport: in.from.format, Path: in.from.path, Manifest: raw, Signatures: signatures}.Allowed(ctx)
	if err != nil {
		return hint.With(err, image.Hint(err))
	}
	return nil
}

// image imports an image, or fails with why unless that is nil.
func (in *importer) image(ctx context.Context, img *foundImage, why error) Result {
	r := Result{Kind: "image", ID: img.id, Manifest: digest.FromBytes(img.raw), Names: img.names, State: Added}
	_ = panics.Catch(func() error { r.Platform = img.platform(); return nil })
	name := logName(img.names, img.id)
	it := in.log.Item(name + "@" + progress.Short(r.Manifest.String()))
	if slices.ContainsFunc(in.from.images, func(o *foundImage) bool { return o.id != img.id && logName(o.names, o.id) == name }) {
		it.For(r.Platform)
	}
	began := time.Now()
	err := why
	if err == nil {
		err = panics.Catch(func() error { return in.importImage(ctx, img, it, &r) })
	}
	switch {
	case err != nil && ctx.Err() != nil:
		r.fail(fmt.Errorf("image %s: %w", img.title(), context.Cause(ctx)))
	case err != nil:
		it.Fail(hint.Text(err, hint.Flags))
		r.fail(fmt.Errorf("image %s: %w", img.title(), err))
	case in.DryRun:
		it.Over()
	case r.State == Added:
		it.Copied(r.Bytes, time.Since(began))
	}
	return r
}

func (in *importer) importImage(ctx context.Context, img *foundImage, it *progress.Item, r *Result) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	raw, signatures := img.raw, img.signatures
	if img.old != nil { // the signatures are of the original manifest
		raw, signatures = img.old.Manifest, img.old.Signatures
	}
	if err := in.allowed(ctx, raw, signatures); err != nil {
		return err
	}
	there := in.has(img, r)
	if there && (!in.Repair || r.Manifest != digest.FromBytes(img.raw)) {
		r.State = Cached
		if in.DryRun {
			return nil
		}
		for _, o := range in.origins(img, r.Manifest) {
			_ = in.cache.AddOrigin(ctx, img.id, o) // informational only
		}
		return in.withHint(in.cache.Sync(ctx, []digest.Digest{img.id}, nil)[img.id])
	}
	if err := in.missing(img); err != nil {
		return err
	}
	if in.DryRun {
		in.plan(img, r)
		return nil
	}
	pool, err := in.openPool(ctx)
	if err != nil {
		return in.withHint(err)
	}
	r.Manifest, r.Reused = digest.FromBytes(img.raw), 0
	if err := in.blobs(ctx, pool, img, it, r); err != nil {
		return in.withHint(err)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if there && r.Bytes == 0 {
		r.State = Cached
	}
	if err := in.checkSchema1(img); err != nil {
		return err
	}
	now := in.attached(img)
	now.Manifest, now.Blobs, now.Origins = img.raw, img.m.Blobs(), in.origins(img, r.Manifest)
	return in.withHint(in.cache.Publish(ctx, pool, img.id, now))
}

// plan sets what would be copied of an image, and what would be reused.
func (in *importer) plan(img *foundImage, r *Result) {
	in.mu.Lock()
	defer in.mu.Unlock()
	r.Manifest, r.Reused = digest.FromBytes(img.raw), 0
	for _, d := range img.m.Blobs() {
		if in.seen[d.Digest] || in.cached(img, d) {
			r.Reused += d.Size
			continue
		}
		in.seen[d.Digest] = true
		r.Bytes += d.Size
	}
}

// cached reports whether the cache has a blob where an import finds it.
func (in *importer) cached(img *foundImage, d manifest.Descriptor) bool {
	if s, err := in.cache.PooledBlob(d.Digest); err == nil && s.Size == d.Size {
		return true
	}
	if f, err := in.cache.OpenImageBlob(img.id, d.Digest); err == nil {
		f.Close()
		return true
	}
	return in.otherImage(img, d) != ""
}

// checkSchema1 returns an error unless the image, whose config is in the pool, was converted from its attached schema 1
// manifest.
func (in *importer) checkSchema1(img *foundImage) error {
	if img.old == nil {
		return nil
	}
	f, err := in.cache.OpenPooled(img.id)
	if err != nil {
		return err
	}
	defer f.Close()
	config, err := io.ReadAll(io.LimitReader(f, manifest.MaxSize))
	if err == nil {
		err = schema1.Gives(img.old.Manifest, img.raw, config)
	}
	if err != nil {
		return fmt.Errorf("manifest of schema 1 that is attached: %w", err)
	}
	return nil
}

// attached returns an image with its attachments: list, signatures, and the schema 1 manifest it was converted from. Those in
// the cache for the same image are kept, since it may have been pinned by them.
func (in *importer) attached(img *foundImage) *cache.Image {
	now := &cache.Image{List: img.list, Signatures: img.signatures, Schema1: img.old}
	pub, err := in.cache.OpenImage(img.id)
	if err != nil {
		return now
	}
	defer pub.Close()
	if !wasPublishedWith(pub, img) {
		return now
	}
	if l, err := pub.List(); err == nil && l != nil {
		now.List = l
	}
	if s, err := pub.Signatures(); err == nil && len(s) > 0 { // a policy may require them for the name it was fetched under
		now.Signatures = s
	}
	if old, err := pub.Schema1(); err == nil && old != nil && now.Schema1 == nil {
		now.Schema1 = old
	}
	return now
}

// wasPublishedWith reports whether the list and signatures of a cached image belong to the imported manifest, even if the
// manifest in the cache is damaged.
func wasPublishedWith(pub *cache.Published, img *foundImage) bool {
	if raw, err := pub.Manifest(); err == nil && bytes.Equal(raw, img.raw) {
		return true
	} else if m, e := manifest.Parse(raw); err == nil && e == nil && !m.List && m.Config.Digest == img.id {
		return false // another form of the image
	}
	origins, err := pub.Origins()
	return err == nil && slices.ContainsFunc(origins, func(o cache.Origin) bool { return o.Digest == digest.FromBytes(img.raw) })
}

func (in *importer) openPool(ctx context.Context) (_ *cache.Pool, err error) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.pool == nil {
		in.pool, err = in.cache.OpenPool(ctx)
	}
	return in.pool, err
}

// copies reports whether an image or list may have to be written to the cache.
func (in *importer) copies() bool {
	return slices.ContainsFunc(in.from.images, func(img *foundImage) bool { return in.Repair || !in.has(img, &Result{}) }) ||
		slices.ContainsFunc(in.from.lists, func(l *ocilayout.Document) bool {
			_, err := in.cache.ReadFile(l.Digest)
			return err != nil
		})
}

// has reports whether the cache has the image, complete. A manifest made here is replaced by another one of the same image,
// which may be the pinned one.
func (in *importer) has(img *foundImage, r *Result) bool {
	pub, err := in.cache.OpenImage(img.id)
	if err != nil {
		return false
	}
	defer pub.Close()
	raw, err := pub.Manifest()
	if err != nil {
		return false
	}
	m, err := parseImage(raw, img.id)
	if err != nil || !pub.Has(m.Blobs()) || !img.made && !bytes.Equal(raw, img.raw) {
		return false
	}
	if img.list != nil {
		if list, err := pub.List(); err != nil || list == nil {
			return false
		}
	}
	if img.old != nil {
		if old, err := pub.Schema1(); err != nil || old == nil {
			return false
		}
	}
	r.Manifest = digest.FromBytes(raw)
	for _, d := range m.Blobs() {
		r.Reused += d.Size
	}
	return true
}

// origins returns the origins to record, one for each name of the image.
func (in *importer) origins(img *foundImage, d digest.Digest) []cache.Origin {
	names := img.names
	if len(names) == 0 {
		names = []string{in.from.path}
	}
	var all []cache.Origin
	for _, name := range names {
		all = append(all, cache.Origin{
			Name: name, Digest: d, Pinned: cmp.Or(img.pins[name], d), Transport: in.from.format, From: in.from.path, Fetched: in.began,
		})
	}
	return all
}
