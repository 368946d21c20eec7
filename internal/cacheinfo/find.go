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

// shownMatches is the maximum number of images in an error.
const shownMatches = 10

// Find returns the images that match what: a name or its end after a slash, with or without its tag; an image id or the
// digest of a manifest or list, or a prefix of one, with or without sha256:. No match is an error.
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

// ErrNotFound is returned if no image of the cache matches.
var ErrNotFound = errors.New("no such image in the cache")

type notFoundError struct{ what string }

func (e *notFoundError) Error() string {
	return fmt.Sprintf("no image in the cache is called %q, by name[:tag] or by the beginning of an id", e.what)
}

func (e *notFoundError) Unwrap() error { return ErrNotFound }

// FindNewest is Find, but of images of one platform with the same name it returns only the newest, in the order of Entries.
// An image matched by another of its names, or by its id, is returned too.
func FindNewest(images []*Image, what string) ([]*Image, error) {
	found, err := Find(images, what)
	if err != nil {
		return nil, err
	}
	var newest []*Image
	seen := map[string]bool{}
	for _, e := range Entries(found) { // newest first within a name
		key := e.String() + " " + e.Platform.String()
		if e.hasDigest(what) || e.isNamed(what, e.Name) && !seen[key] {
			newest = append(newest, e.Image)
		}
		seen[key] = true
	}
	slices.SortFunc(newest, func(a, b *Image) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return slices.Compact(newest), nil
}

// FindOne is FindNewest for exactly one image: more than one is an error.
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

// Ambiguous returns the error for several matches where one is needed.
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

// FindNames returns the images matched by name, and the name. It is an error if several names match. name is zero if what
// is an id or digest, which must match one image.
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
	case 0: // a repository without a tag, whose image is named by a tag
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

// Without returns the image's names without gone. The last tag of a repository takes the name without a tag with it.
func (i *Image) Without(gone []Name) []Name {
	left := slices.DeleteFunc(i.Names(), func(n Name) bool { return slices.Contains(gone, n) })
	return slices.DeleteFunc(left, func(n Name) bool {
		same := func(o Name) bool { return o.Repository == n.Repository && o.Tag != "" }
		return n.Tag == "" && slices.ContainsFunc(gone, same) && !slices.ContainsFunc(left, same)
	})
}

// isCalled reports whether the image matches what.
func (i *Image) isCalled(what string) bool {
	return i.hasDigest(what) || slices.ContainsFunc(i.Names(), func(n Name) bool { return i.isNamed(what, n) })
}

// isNamed reports whether what matches this name of the image, and its digest if what has one.
func (i *Image) isNamed(what string, n Name) bool {
	name, d, ok := strings.Cut(withoutTransport(what), "@")
	return name != "" && n.isCalled(name) && (!ok || i.hasDigest(d))
}

func withoutTransport(what string) string {
	return strings.TrimPrefix(strings.TrimPrefix(what, "docker://"), "containers-storage:")
}

// minPrefix is the minimum number of digits of an id prefix: a shorter text is more likely a name.
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
	Repository string // full name with registry
	Tag        string // "" if the reference had none
}

// String returns repository:tag.
func (n Name) String() string {
	if n.Tag == "" {
		return n.Repository
	}
	return n.Repository + ":" + n.Tag
}

func (n Name) isCalled(what string) bool {
	return strings.HasSuffix("/"+n.Repository, "/"+what) || strings.HasSuffix("/"+n.String(), "/"+what)
}

// Names returns the recorded names of the image, sorted and without duplicates. The name without a tag, of an image
// fetched by its digest, comes after those with one.
func (i *Image) Names() []Name {
	names := make([]Name, 0, len(i.Origins))
	for _, o := range i.Origins {
		names = append(names, ParseName(o.Name))
	}
	slices.SortFunc(names, func(a, b Name) int {
		if a.Repository == b.Repository && (a.Tag == "") != (b.Tag == "") {
			return strings.Compare(b.Tag, a.Tag) // without a tag last
		}
		return cmp.Or(strings.Compare(a.Repository, b.Repository), strings.Compare(a.Tag, b.Tag))
	})
	return slices.Compact(names)
}

// ParseName parses a recorded name. An invalid reference becomes a Repository without a Tag.
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

// Title describes the image in a line, safe for terminals: its first name, and its platform.
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

// Arch returns the image's architecture and variant, with the operating system if not linux; "-" if its config has none.
func (i *Image) Arch() string {
	if i.Platform.Architecture == "" {
		return "-"
	}
	return strings.TrimPrefix(i.Platform.String(), "linux/")
}
