package bundle

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/image/schema1"
	"osbuild-containers/internal/manifest"
)

// Wanted is a cached image to put into a bundle.
type Wanted struct {
	ID       digest.Digest
	Manifest digest.Digest // required manifest; "" for any
	Names    []Name
	Lists    []digest.Digest // cached manifest lists to include
}

// Name is a name in a bundle.
type Name struct {
	Name   string
	Digest digest.Digest // named manifest, or list that names it; "" if unknown
}

// title names the image in messages.
func (w *Wanted) title() string {
	if len(w.Names) > 0 {
		return w.Names[0].Name
	}
	return w.ID.String()
}

// picked is an image read from the cache.
type picked struct {
	Wanted
	pub        *cache.Published
	release    func()
	raw        []byte
	m          *manifest.Manifest
	platform   manifest.Platform
	signatures [][]byte
	old        *cache.Schema1 // source of raw's conversion, or nil
}

// pick reads all of an image but its layers.
func pick(c *cache.Cache, w Wanted) (*picked, error) {
	pub, err := c.OpenImage(w.ID)
	if err != nil {
		return nil, fmt.Errorf("image %s: it is not in the cache: %w", w.title(), err)
	}
	p := &picked{Wanted: w, pub: pub}
	if p.release, err = pub.RLock(); err != nil {
		pub.Close()
		return nil, fmt.Errorf("image %s: %w", w.title(), err)
	}
	if err := p.read(); err != nil {
		p.close()
		return nil, hint.Add(fmt.Errorf("image %s: in the cache it is damaged: %w", w.title(), err), "osbuild-containers fetch repairs it")
	}
	return p, nil
}

// close unlocks the image, which may then be removed.
func (p *picked) close() {
	p.release()
	p.pub.Close()
}

func (p *picked) read() (err error) {
	if p.raw, err = p.pub.Manifest(); err != nil {
		return err
	}
	if p.m, err = parseImage(p.raw, p.ID); err != nil {
		return err
	}
	if !p.pub.Has(p.m.Blobs()) {
		return errors.New("blobs are missing")
	}
	config, err := p.pub.Config(p.m.Config)
	if err != nil {
		return err
	}
	if p.old, err = p.pub.Schema1(); err != nil {
		return err
	}
	var old digest.Digest
	if p.old != nil {
		if err := schema1.Gives(p.old.Manifest, p.raw, config); err != nil {
			return fmt.Errorf("schema1.json: %w", err)
		}
		if old, err = schema1.Digest(p.old.Manifest); err != nil {
			return err
		}
	}
	if got := digest.FromBytes(p.raw); p.Manifest != "" && got != p.Manifest && old != p.Manifest {
		return fmt.Errorf("got manifest %s, want %s", cmp.Or(old, got), p.Manifest)
	}
	p.platform, _ = manifest.PlatformOf(config) // a config may have no platform
	p.signatures, err = p.pub.Signatures()
	return err
}

// merged returns the images, sorted and without duplicates, each with all its names.
func merged(all []Wanted) ([]Wanted, error) {
	var out []Wanted
	at := map[digest.Digest]int{}
	for _, w := range all {
		n, known := at[w.ID]
		if !known {
			at[w.ID] = len(out)
			out = append(out, Wanted{ID: w.ID, Manifest: w.Manifest, Names: slices.Clone(w.Names), Lists: slices.Clone(w.Lists)})
			continue
		}
		o := &out[n]
		if w.Manifest != "" && o.Manifest != "" && w.Manifest != o.Manifest {
			return nil, fmt.Errorf("%s and %s are the same image, %s, in two forms, and a cache holds one: leave one out", o.title(), w.title(), w.ID)
		}
		o.Manifest = cmp.Or(o.Manifest, w.Manifest)
		o.Names = append(o.Names, w.Names...)
		o.Lists = append(o.Lists, w.Lists...)
	}
	for n := range out {
		slices.SortFunc(out[n].Names, func(a, b Name) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Digest, b.Digest)) })
		out[n].Names = slices.Compact(out[n].Names)
	}
	slices.SortFunc(out, func(a, b Wanted) int {
		return cmp.Or(cmp.Compare(a.title(), b.title()), cmp.Compare(a.ID, b.ID))
	})
	return out, nil
}

// ListsIn returns the published manifest lists of the cache, by the manifests they name.
func ListsIn(c *cache.Cache) (map[digest.Digest][]digest.Digest, error) {
	found, err := c.Files()
	if err != nil {
		return nil, err
	}
	lists := map[digest.Digest][]digest.Digest{}
	for _, f := range found {
		raw, err := c.ReadFile(f.Digest)
		if err != nil {
			continue
		}
		m, err := manifest.Parse(raw)
		if err != nil || !m.List {
			continue
		}
		for _, e := range m.Entries {
			lists[e.Digest] = append(lists[e.Digest], f.Digest)
		}
	}
	return lists, nil
}
