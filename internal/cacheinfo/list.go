package cacheinfo

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Entry is an image under one of its names.
type Entry struct {
	Name // Repository is NoName if none is recorded
	*Image
	Fetched time.Time // fetch time under this name, or else of the image
}

// Entries returns the images by name: sorted by repository, newest image first within one, images with the same tag together.
// The newest image is the last one created or, at equal times, fetched. A name without a tag is omitted if the image has one
// with a tag in the same repository.
func Entries(images []*Image) []Entry {
	entries := make([]Entry, 0, len(images))
	for _, i := range images {
		names := i.Names()
		if len(names) == 0 {
			entries = append(entries, Entry{Name{Repository: NoName}, i, i.Fetched})
		}
		for _, n := range withTags(names) {
			entries = append(entries, Entry{n, i, i.fetchedAs(n)})
		}
	}
	newest := map[Name]Entry{}
	for _, e := range entries {
		if best, ok := newest[e.Name]; !ok || e.newer(best) < 0 {
			newest[e.Name] = e
		}
	}
	slices.SortFunc(entries, func(a, b Entry) int {
		return cmp.Or(
			byName(a.Repository, b.Repository),
			newest[a.Name].newer(newest[b.Name]), strings.Compare(a.Tag, b.Tag),
			a.newer(b))
	})
	return entries
}

// byName sorts images without a name last.
func byName(a, b string) int {
	if (a == NoName) != (b == NoName) {
		if a == NoName {
			return 1
		}
		return -1
	}
	return strings.Compare(a, b)
}

// withTags drops names without a tag if another name of the same repository has one. Images fetched for a manifest, which has
// digests and no tags, usually have both.
func withTags(names []Name) []Name {
	return slices.DeleteFunc(slices.Clone(names), func(n Name) bool {
		return n.Tag == "" && slices.ContainsFunc(names, func(o Name) bool { return o.Repository == n.Repository && o.Tag != "" })
	})
}

// newer is negative if e is newer than o.
func (e Entry) newer(o Entry) int {
	return cmp.Or(
		o.Created.Compare(e.Created), o.Fetched.Compare(e.Fetched),
		strings.Compare(e.Arch(), o.Arch()), strings.Compare(string(e.ID), string(o.ID)))
}

// fetchedAs returns when the image was fetched under a name.
func (i *Image) fetchedAs(n Name) time.Time {
	var at time.Time
	for _, o := range i.Origins {
		if ParseName(o.Name) == n && o.Fetched.After(at) {
			at = o.Fetched
		}
	}
	if at.IsZero() {
		return i.Fetched
	}
	return at
}
