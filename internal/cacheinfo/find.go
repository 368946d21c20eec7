package cacheinfo

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/progress"
)

// shownMatches is how many images an error names.
const shownMatches = 10

// Find returns the images that what means: a name, or the end of one at a slash, with its tag or
// without; an image id, the digest of a manifest or of a list, or how one of these begins, with
// sha256: or without. That there is none is an error.
func Find(images []*Image, what string) ([]*Image, error) {
	var found []*Image
	for _, i := range images {
		if i.isCalled(what) {
			found = append(found, i)
		}
	}
	if len(found) == 0 {
		return nil, hint.Add(&notFoundError{what}, "see what there is: osbuild-containers list")
	}
	return found, nil
}

// ErrNotFound is the error for what means no image of the cache.
var ErrNotFound = errors.New("no such image in the cache")

type notFoundError struct{ what string }

func (e *notFoundError) Error() string {
	return fmt.Sprintf("no image in the cache is called %q, by name[:tag] or by the beginning of an id", e.what)
}

func (e *notFoundError) Unwrap() error { return ErrNotFound }

// FindNewest is Find, but of images of one platform that have the same name it returns the newest, as Entries has it.
// An image that what means by another of its names, or by its id, stays.
func FindNewest(images []*Image, what string) ([]*Image, error) {
	found, err := Find(images, what)
	if err != nil {
		return nil, err
	}
	var newest []*Image
	seen := map[string]bool{}
	for _, e := range Entries(found) { // of one name the newest come first
		key := e.String() + " " + e.Platform.String()
		if e.hasDigest(what) || e.isNamed(what, e.Name) && !seen[key] {
			newest = append(newest, e.Image)
		}
		seen[key] = true
	}
	slices.SortFunc(newest, func(a, b *Image) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return slices.Compact(newest), nil
}

// FindOne is FindNewest where one image is meant: several are an error, too.
func FindOne(images []*Image, what string) (*Image, error) {
	found, err := FindNewest(images, what)
	if err != nil {
		return nil, err
	}
	if len(found) == 1 {
		return found[0], nil
	}
	return nil, Ambiguous(found, what)
}

// Ambiguous returns the error for a name or the beginning of an id that means several images, where one is wanted.
func Ambiguous(found []*Image, what string) error {
	lines := make([]string, 0, len(found))
	for _, i := range found {
		lines = append(lines, manifest.Short(i.ID)+"  "+i.Title())
	}
	slices.Sort(lines)
	if more := len(lines) - shownMatches; more > 0 {
		lines = append(lines[:shownMatches], fmt.Sprintf("and %d more", more))
	}
	return hint.Add(&hint.List{What: fmt.Sprintf("%d images in the cache are called %q", len(found), what), Items: lines},
		"name one by its id, or say which with --arch")
}

// FindNames returns the images that what means by name, and the one name: it is an error if what means several. name is
// zero if what means an image by its id or digest, of which there must be one.
func FindNames(images []*Image, what string) (found []*Image, name Name, err error) {
	if found, err = Find(images, what); err != nil {
		return nil, name, err
	}
	var names []Name
	for _, i := range found {
		if i.hasDigest(what) {
			if len(found) > 1 {
				return nil, name, Ambiguous(found, what)
			}
			return found, Name{}, nil
		}
		for _, n := range withTags(i.Names()) {
			if i.isNamed(what, n) && !slices.Contains(names, n) {
				names = append(names, n)
			}
		}
	}
	switch len(names) {
	case 1:
		return found, names[0], nil
	case 0: // a repository without a tag, of which the image has a tag that was named otherwise
		return nil, name, Ambiguous(found, what)
	}
	lines := make([]string, 0, len(names))
	for _, n := range names {
		lines = append(lines, n.String())
	}
	slices.Sort(lines)
	return nil, name, hint.Add(&hint.List{What: fmt.Sprintf("%d names in the cache are called %q", len(names), what), Items: lines},
		"say all of the name, with its tag")
}

// Without returns the names that an image has left without some. The last tag of a repository takes the name without a
// tag with it.
func (i *Image) Without(gone []Name) []Name {
	left := slices.DeleteFunc(i.Names(), func(n Name) bool { return slices.Contains(gone, n) })
	return slices.DeleteFunc(left, func(n Name) bool {
		same := func(o Name) bool { return o.Repository == n.Repository && o.Tag != "" }
		return n.Tag == "" && slices.ContainsFunc(gone, same) && !slices.ContainsFunc(left, same)
	})
}

// isCalled reports whether the image matches what a user wrote.
func (i *Image) isCalled(what string) bool {
	return i.hasDigest(what) || slices.ContainsFunc(i.Names(), func(n Name) bool { return i.isNamed(what, n) })
}

// isNamed reports whether what a user wrote means this name of the image, and its digest where it has one.
func (i *Image) isNamed(what string, n Name) bool {
	name, d, ok := strings.Cut(withoutTransport(what), "@")
	return name != "" && n.isCalled(name) && (!ok || i.hasDigest(d))
}

func withoutTransport(what string) string {
	return strings.TrimPrefix(strings.TrimPrefix(what, "docker://"), "containers-storage:")
}

// minPrefix is how many digits a part of an id must have: a shorter one is more likely a name.
const minPrefix = 4

func (i *Image) hasDigest(prefix string) bool {
	hex := strings.TrimPrefix(prefix, "sha256:")
	if len(hex) < minPrefix {
		return false
	}
	return slices.ContainsFunc([]digest.Digest{i.ID, i.Manifest, i.List, i.Schema1}, func(d digest.Digest) bool {
		return d != "" && strings.HasPrefix(d.Encoded(), hex)
	})
}

// Name is one of the names of an image.
type Name struct {
	Repository string // in full, with its registry
	Tag        string // "" if the reference had none
}

// String is the name as it is written.
func (n Name) String() string {
	if n.Tag == "" {
		return n.Repository
	}
	return n.Repository + ":" + n.Tag
}

func (n Name) isCalled(what string) bool {
	return strings.HasSuffix("/"+n.Repository, "/"+what) || strings.HasSuffix("/"+n.String(), "/"+what)
}

// Names are the names of the image, sorted, each once; none if none is recorded.
func (i *Image) Names() []Name {
	names := make([]Name, 0, len(i.Origins))
	for _, o := range i.Origins {
		names = append(names, ParseName(o.Name))
	}
	slices.SortFunc(names, func(a, b Name) int {
		return cmp.Or(strings.Compare(a.Repository, b.Repository), strings.Compare(a.Tag, b.Tag))
	})
	return slices.Compact(names)
}

// ParseName parses a name as it was recorded; what is not a reference is a Repository without a Tag.
func ParseName(s string) Name {
	named, err := reference.ParseNormalizedNamed(s)
	if err != nil { // written by another program
		return Name{Repository: s}
	}
	n := Name{Repository: named.Name()}
	if t, ok := named.(reference.Tagged); ok {
		n.Tag = t.Tag()
	}
	return n
}

// Title names the image in a line, fit for a terminal: its first name, and its platform.
func (i *Image) Title() string {
	title := NoName
	if names := i.Names(); len(names) > 0 {
		title = names[0].String()
	}
	if i.Platform.Architecture != "" {
		title += " " + i.Arch()
	}
	return progress.Clean(title)
}

// NoName is shown for images without a recorded name.
const NoName = "(no name recorded)"

// Arch is the image's architecture with its variant, and the operating system where that is not
// linux; "-" if its config does not say.
func (i *Image) Arch() string {
	if i.Platform.Architecture == "" {
		return "-"
	}
	return strings.TrimPrefix(i.Platform.String(), "linux/")
}
