package pin

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
)

// A Change is the result of updating one pin.
type Change struct {
	Reference string
	Platform  string
	Old       Image
	New       Image
	Changed   bool
	Removed   []Layer // layers only in the old image
	Added     []Layer // layers only in the new image
	Kept      []Layer
}

// Update resolves the tags of the images again. The changes are in the order of the images. Images pinned by digest only
// do not change.
func (r *Resolver) Update(ctx context.Context, images []Image) ([]Change, error) {
	type group struct {
		at     int
		places []int // indexes of the images, in the order of the platforms
	}
	groups := map[Reference]*group{}
	var wanted []Wanted
	for n := range images {
		ref, err := images[n].ref()
		if err != nil {
			return nil, err
		}
		if ref.Tag == "" {
			continue
		}
		p, err := ParsePlatform(images[n].Platform)
		if err != nil {
			return nil, err
		}
		g := groups[ref]
		if g == nil {
			g = &group{at: len(wanted)}
			groups[ref] = g
			wanted = append(wanted, Wanted{Reference: ref})
		}
		g.places = append(g.places, n)
		wanted[g.at].Platforms = append(wanted[g.at].Platforms, p)
		wanted[g.at].pins = append(wanted[g.at].pins, images[n])
	}
	resolved, err := r.Resolve(ctx, wanted)
	if err != nil {
		return nil, err
	}
	now := slices.Clone(images)
	for _, w := range wanted {
		for _, n := range groups[w.Reference].places {
			now[n], resolved = resolved[0], resolved[1:]
		}
	}
	changes := make([]Change, len(images))
	for n := range images {
		changes[n] = compare(images[n], now[n])
	}
	return changes, nil
}

// compare returns the changes from one pin to another.
func compare(was, is Image) Change {
	c := Change{
		Reference: was.Reference, Platform: was.Platform, Old: was, New: is, Changed: !was.same(&is),
		Removed: []Layer{}, Added: []Layer{}, Kept: []Layer{},
	}
	had, has := digests(was.Layers), digests(is.Layers)
	for _, l := range unique(was.Layers) {
		if has[l.Digest] {
			c.Kept = append(c.Kept, l)
		} else {
			c.Removed = append(c.Removed, l)
		}
	}
	for _, l := range unique(is.Layers) {
		if !had[l.Digest] {
			c.Added = append(c.Added, l)
		}
	}
	return c
}

func digests(layers []Layer) map[digest.Digest]bool {
	set := make(map[digest.Digest]bool, len(layers))
	for _, l := range layers {
		set[l.Digest] = true
	}
	return set
}

// unique returns the layers without duplicates.
func unique(layers []Layer) []Layer {
	seen := map[digest.Digest]bool{}
	var once []Layer
	for _, l := range layers {
		if !seen[l.Digest] {
			once = append(once, l)
		}
		seen[l.Digest] = true
	}
	return once
}

// Select returns the images matched by the names, or all if there are no names. A name matches a whole reference, or its
// end after a slash, with or without its tag. A name without a match is an error.
func (f *File) Select(names []string) ([]Image, error) {
	if len(names) == 0 {
		return slices.Clone(f.Images), nil
	}
	chosen := make([]bool, len(f.Images))
	for _, name := range names {
		some := false
		for n := range f.Images {
			if f.Images[n].named(name) {
				chosen[n], some = true, true
			}
		}
		if !some {
			return nil, fmt.Errorf("nothing is pinned as %q; pinned is %s", name, f.names())
		}
	}
	var images []Image
	for n, yes := range chosen {
		if yes {
			images = append(images, f.Images[n])
		}
	}
	return images, nil
}

func (i *Image) named(name string) bool {
	name = strings.TrimPrefix(strings.TrimPrefix(name, "docker://"), "containers-storage:")
	ref, err := i.ref()
	if err != nil || name == "" {
		return false
	}
	return strings.HasSuffix("/"+ref.String(), "/"+name) || strings.HasSuffix("/"+ref.Name, "/"+name)
}

// names lists the references of the file, without duplicates, up to a limit.
func (f *File) names() string {
	const shown = 10
	var names []string
	for n := range f.Images {
		names = append(names, f.Images[n].Reference)
	}
	names = slices.Compact(names)
	switch {
	case len(names) == 0:
		return "nothing"
	case len(names) > shown:
		names = append(names[:shown], fmt.Sprintf("and %d more", len(names)-shown))
	}
	return strings.Join(names, ", ")
}
