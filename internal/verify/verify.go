// Package verify reads every byte of a cache, compares it with its digest, and repairs damage.
package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/cacheinfo"
	"osbuild-containers/internal/progress"
)

// A Damage is a file that does not match its digest.
type Damage struct {
	Image  digest.Digest // image it belongs to; "" for a blob only in the pool, or a list
	Title  string        // name of the image, or of what else has the file
	What   Part
	Digest digest.Digest // wanted digest; "" if unknown
	Path   string
	Got    string // digest, size, nothing, or why it cannot be read
}

// A Part names the role of a cached file: manifest, config, layer or signature.
type Part string

// Parts.
const (
	PartManifest  Part = "manifest"
	PartList      Part = "list"
	PartSchema1   Part = "schema1" // schema 1 manifest that an image was converted from
	PartConfig    Part = "config"
	PartLayer     Part = "layer"
	PartSignature Part = "signature"
	PartVersion   Part = "version"
	PartFile      Part = "file" // published under a digest: a manifest list, or a file of another source of osbuild
	PartPool      Part = "blob" // pooled blob
)

// Verified is the result of Verify.
type Verified struct {
	Images    int
	Files     int             // files read, each once whatever its number of names
	Bytes     int64           // bytes read
	Damaged   []Damage        // by title, sorted
	Unvouched []digest.Digest // images checked by their id only, since no recorded digest verifies their manifest
	Replaced  int             // images replaced during each attempt to read them: state unknown
}

// rounds is how often an image is read that is replaced in the meantime.
const rounds = 3

// Verify reads every byte of the images or, if all is set, of the whole cache with the pool and published lists. Each file is
// read once, whatever images share it, with one reader per processor. Nothing is locked: files removed in the meantime
// are skipped, replaced ones are read again.
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

// isShared reports whether a damage of a pooled blob is already listed for an image that shares it.
func (v *Verified) isShared(d Damage) bool {
	return d.What == PartPool && slices.ContainsFunc(v.Damaged, func(o Damage) bool {
		return o.Image != "" && o.Digest == d.Digest && o.Got == d.Got
	})
}

// settle takes over the results of images unchanged since they were read, and returns the others.
func (r *reader) settle(v *Verified) (again []*cacheinfo.Image) {
	v.Damaged = append(v.Damaged, r.damaged...)
	for _, e := range r.reports {
		switch e.status(r.cache) {
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
	unread    bool // could not be opened
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

// status returns what happened to the image since it was read. An image without damage counts as unchanged.
func (e *report) status(c *cache.Cache) status {
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

// addDamage records damage of the image.
func (e *report) addDamage(what Part, d digest.Digest, path, format string, args ...any) {
	e.damaged = append(e.damaged, Damage{e.ID, e.Title(), what, d, path, fmt.Sprintf(format, args...)})
}

// unreadable records damage of the image: a file that is missing, invalid or cannot be read.
func (e *report) unreadable(what Part, d digest.Digest, path string, err error) {
	if errors.Is(err, fs.ErrNotExist) {
		e.addDamage(what, d, path, "nothing")
		return
	}
	e.addDamage(what, d, path, "%v", err)
}
