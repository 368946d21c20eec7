// Package verify reads every byte of a cache, compares it with its digest, and repairs what is damaged.
package verify

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/cacheinfo"
	"osbuild-containers/internal/progress"
)

// A Damage is a file that does not match its digest.
type Damage struct {
	Image  digest.Digest // the image it is a part of; "" for a blob of the pool alone, or a list
	Title  string        // of the image, or what has it
	What   Part
	Digest digest.Digest // what it should have; "" if that is not known
	Path   string
	Got    string // a digest, a size, nothing, or why it cannot be read
}

// A Part names the role of a cached file: manifest, config, layer or signature.
type Part string

// The parts.
const (
	PartManifest  Part = "manifest"
	PartList      Part = "list"
	PartSchema1   Part = "schema1" // the manifest of schema 1 that an image was converted from
	PartConfig    Part = "config"
	PartLayer     Part = "layer"
	PartSignature Part = "signature"
	PartVersion   Part = "version"
	PartFile      Part = "file" // published under a digest: a manifest list, or what another source of osbuild fetched
	PartPool      Part = "blob" // of the pool
)

// Verified is the result of Verify.
type Verified struct {
	Images    int
	Files     int             // that were read, each once however many names it has
	Bytes     int64           // of them
	Damaged   []Damage        // by title, sorted
	Unvouched []digest.Digest // images whose manifest no recorded digest vouches for: it was checked for its id alone
	Replaced  int             // images that were replaced each time they were read: nothing is known of them
}

// rounds is how often an image is read again that was replaced meanwhile.
const rounds = 3

// Verify reads every byte of some images, and of all the cache if all is said: then the pool and the published
// lists too. Each file is read once, whichever images have it, by as many readers as there are
// processors. Nothing is locked: what is removed meanwhile is left out, what is replaced is read again.
func Verify(ctx context.Context, c *cache.Cache, images []*cacheinfo.Image, all bool, log *progress.Reporter) (*Verified, error) {
	defer log.Close()
	v := &Verified{Images: len(images)}
	left, rest := images, all
	for range rounds {
		r := &reader{cache: c, log: log, files: map[cache.FileID]*reading{}}
		if err := r.collect(left, rest); err != nil {
			return nil, err
		}
		if err := r.read(ctx); err != nil {
			return nil, err
		}
		v.Files += len(r.files)
		v.Bytes += r.bytes.Load()
		left = r.settle(v)
		if len(left) == 0 {
			break
		}
		rest = false
	}
	v.Replaced = len(left)
	v.Images -= v.Replaced
	slices.SortFunc(v.Damaged, func(a, b Damage) int {
		return cmp.Or(strings.Compare(string(a.Image), string(b.Image)), strings.Compare(string(a.What), string(b.What)), strings.Compare(a.Path, b.Path))
	})
	v.Damaged = slices.DeleteFunc(slices.Compact(v.Damaged), v.isShared)
	return v, nil
}

// isShared reports whether a damage is of a blob of the pool, and named already for an image that has it from there.
func (v *Verified) isShared(d Damage) bool {
	return d.What == PartPool && slices.ContainsFunc(v.Damaged, func(o Damage) bool {
		return o.Image != "" && o.Digest == d.Digest && o.Got == d.Got
	})
}

// settle takes over what was found of images that are still as they were read, and returns the others.
func (r *reader) settle(v *Verified) (again []*cacheinfo.Image) {
	v.Damaged = append(v.Damaged, r.damaged...)
	for _, e := range r.reports {
		switch e.now(r.cache) {
		case same:
			v.Damaged = append(v.Damaged, e.damaged...)
			if e.unvouched && len(e.damaged) == 0 {
				v.Unvouched = append(v.Unvouched, e.ID)
			}
		case replaced:
			again = append(again, e.Image)
		case gone:
			v.Images--
		}
	}
	return again
}

// report is the result for one image.
type report struct {
	*cacheinfo.Image
	unread    bool // it could not be opened
	damaged   []Damage
	unvouched bool
}

// status is what happened to an image while it was read.
type status int

const (
	same status = iota
	replaced
	gone
)

// now reports whether the image is the one that was read. One in which nothing is wrong counts as it was.
func (e *report) now(c *cache.Cache) status {
	if len(e.damaged) == 0 && !e.unread {
		return same
	}
	pub, err := c.OpenImage(e.ID)
	if err != nil {
		return gone
	}
	defer pub.Close()
	if e.unread || !e.IsSame(pub) {
		return replaced
	}
	return same
}

// wrong notes a damage of the image.
func (e *report) wrong(what Part, d digest.Digest, path, format string, args ...any) {
	e.damaged = append(e.damaged, Damage{e.ID, e.Title(), what, d, path, fmt.Sprintf(format, args...)})
}
