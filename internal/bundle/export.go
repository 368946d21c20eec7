package bundle

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/ocilayout"
	"osbuild-containers/internal/progress"
)

// A Bundle is the content to write. All but the layers has been read.
type Bundle struct {
	Images []Exported
	Lists  []digest.Digest // sorted
	Blobs  Sum             // configs and layers in it
	Left   Sum             // omitted, since the destination has them

	content *ocilayout.Content
	picked  []*picked
}

// Exported is an image in a bundle.
type Exported struct {
	ID       digest.Digest
	Manifest digest.Digest
	Platform manifest.Platform
	Names    []string
}

// A Sum counts blobs.
type Sum struct {
	Blobs int
	Bytes int64
}

func (s *Sum) add(size int64) { s.Blobs++; s.Bytes = manifest.AddSizes(s.Bytes, size) }

// New reads the content of a bundle, which the caller must close.
func New(c *cache.Cache, wanted []Wanted, have Have) (*Bundle, error) {
	all, err := merged(wanted)
	if err != nil {
		return nil, &RefusedError{err}
	}
	b := &Bundle{content: &ocilayout.Content{}}
	if err := b.read(c, all, have); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

// read opens the images, and reads all but their layers.
func (b *Bundle) read(c *cache.Cache, wanted []Wanted, have Have) error {
	for _, w := range wanted {
		p, err := pick(c, w)
		if err != nil {
			return err
		}
		b.picked = append(b.picked, p)
	}
	x := newIndex()
	lists, err := b.lists(c, x)
	if err != nil {
		return err
	}
	from := map[digest.Digest]*picked{}
	for _, p := range b.picked {
		b.image(x, p, lists)
		for _, d := range p.m.Blobs() {
			if from[d.Digest] != nil {
				continue
			}
			from[d.Digest] = p
			if have.has(d.Digest, d.Size) {
				b.Left.add(d.Size)
				continue
			}
			b.Blobs.add(d.Size)
			b.content.Blobs = append(b.content.Blobs, d)
		}
	}
	b.content.Index = x.sorted()
	b.content.Open = func(d digest.Digest) (*os.File, error) { return from[d].pub.OpenBlob(d) }
	return nil
}

// Close releases the images in the cache.
func (b *Bundle) Close() {
	for _, p := range b.picked {
		p.close()
	}
}

// lists adds the manifest lists to the bundle.
func (b *Bundle) lists(c *cache.Cache, x *index) (map[digest.Digest]*manifest.Manifest, error) {
	lists := map[digest.Digest]*manifest.Manifest{}
	for _, p := range b.picked {
		for _, d := range p.Lists {
			if lists[d] != nil {
				continue
			}
			raw, err := c.ReadFile(d)
			if err != nil { // may be stored with the image pinned by it
				stored, err := p.pub.List()
				if err != nil || digest.FromBytes(stored) != d {
					return nil, fmt.Errorf("image %s: its manifest list %s is not in the cache: fetch it", p.title(), d)
				}
				raw = stored
			}
			m, err := manifest.Parse(raw)
			if err == nil && !m.List {
				err = fmt.Errorf("not a manifest list")
			}
			if err != nil {
				return nil, fmt.Errorf("image %s: manifest list %s: %w", p.title(), d, err)
			}
			lists[d] = m
			x.list(raw)
			b.content.Documents = append(b.content.Documents, raw)
			b.Lists = append(b.Lists, d)
		}
	}
	slices.Sort(b.Lists)
	return lists, nil
}

// image adds an image to the bundle, without its blobs.
func (b *Bundle) image(x *index, p *picked, lists map[digest.Digest]*manifest.Manifest) {
	x.image(p, listsNaming(lists, digest.FromBytes(p.raw)))
	b.content.Documents = append(b.content.Documents, p.raw)
	attach := func(kind string, parts ...[]byte) {
		artifact, parts := attachment(p, kind, parts)
		x.artifact(artifact, kind)
		b.content.Documents = append(append(b.content.Documents, artifact), parts...)
	}
	if len(p.signatures) > 0 {
		attach(signaturesType, p.signatures...)
	}
	if p.old != nil {
		attach(schema1Type, append([][]byte{p.old.Manifest}, p.old.Signatures...)...)
	}
	e := Exported{ID: p.ID, Manifest: digest.FromBytes(p.raw), Platform: p.platform, Names: []string{}}
	for _, n := range p.Names {
		if !slices.Contains(e.Names, n.Name) {
			e.Names = append(e.Names, n.Name)
		}
	}
	b.Images = append(b.Images, e)
}

// tell reports the progress of all blobs, each for the first image with it. The returned function must be called when all
// are written.
func (b *Bundle) tell(log *progress.Reporter) (done func()) {
	began := time.Now()
	wanted := map[digest.Digest]bool{}
	for _, d := range b.content.Blobs {
		wanted[d.Digest] = true
	}
	bars := map[digest.Digest]*bar{}
	items := make([]*progress.Item, len(b.picked))
	sums := make([]Sum, len(b.picked))
	for n, p := range b.picked {
		it := log.Item(logName(b.Images[n].Names, p.ID) + "@" + progress.Short(digest.FromBytes(p.raw).String()))
		if slices.ContainsFunc(b.Images, func(o Exported) bool { return o.Platform != p.platform && sameRepository(o.Names, b.Images[n].Names) }) {
			it.For(p.platform.String())
		}
		items[n] = it
		var size int64
		for _, d := range p.m.Blobs() {
			size += d.Size
		}
		it.Start("export of image "+progress.Short(p.ID.String()), len(p.m.Layers), size)
		eachBlob(p.m, func(d manifest.Descriptor, kind string, number int) {
			if wanted[d.Digest] {
				delete(wanted, d.Digest)
				sums[n].add(d.Size)
				bars[d.Digest] = &bar{Blob: it.Blob(kind, number, len(p.m.Layers), d.Digest.String(), d.Size), size: d.Size}
			}
		})
	}
	b.content.Told = func(d digest.Digest, n int64) { bars[d].add(n) }
	return func() {
		for n, it := range items {
			it.Copied(sums[n].Bytes, time.Since(began))
		}
	}
}

// bar is the progress of a blob. One goroutine uses it.
type bar struct {
	*progress.Blob
	size, have int64
}

func (b *bar) add(n int64) {
	if b.have == 0 {
		b.Begin("copying")
	}
	b.Add(n)
	if b.have += n; b.have == b.size {
		b.Done()
	}
}

// eachBlob calls do once for each blob of an image: the config, and each layer with its first number.
func eachBlob(m *manifest.Manifest, do func(d manifest.Descriptor, kind string, number int)) {
	for _, d := range m.Blobs() {
		if d.Digest == m.Config.Digest {
			do(d, "config", 0)
			continue
		}
		n := slices.IndexFunc(m.Layers, func(l manifest.Descriptor) bool { return l.Digest == d.Digest })
		do(d, "layer", n+1)
	}
}

// logName returns the name of an image for logs.
func logName(names []string, id digest.Digest) string {
	if len(names) > 0 {
		return names[0]
	}
	return progress.Short(id.String())
}

// sameRepository reports whether images with these names are shown with the same name but for the tag, which an image
// that was fetched for a manifest does not have.
func sameRepository(a, b []string) bool {
	return len(a) > 0 && len(b) > 0 && repository(a[0]) == repository(b[0])
}

func repository(name string) string {
	if colon := strings.LastIndexByte(name, ':'); colon > strings.LastIndexByte(name, '/') {
		return name[:colon]
	}
	return name
}
