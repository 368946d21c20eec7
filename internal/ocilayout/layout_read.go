package ocilayout

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"osbuild-containers/internal/manifest"
)

// AnnotationImageName is the annotation with the full name of an image, written by containerd and docker. Their
// org.opencontainers.image.ref.name has only the tag.
const AnnotationImageName = "io.containerd.image.name"

const (
	maxDocuments = 256 << 20 // bytes of all documents of a layout
	maxNames     = 1000      // names of an image
	maxAbout     = 200       // bytes kept to describe an image in an error
)

// Layout is the content of an OCI layout, in its order. Manifests that a list names but the layout lacks are ignored: a layout
// often has only one platform of a list.
type Layout struct {
	Images []*Document
	Lists  []*Document
	Others []*Document // all others, with Err
}

// Document is a manifest or manifest list whose bytes match its digest.
type Document struct {
	Digest     digest.Digest
	Raw        []byte
	Manifest   *manifest.Manifest
	Names      []string        // names in index.json, its own and those of lists that name it
	Own        []string        // names that index.json gives the document itself
	Lists      []digest.Digest // lists that name it
	Signatures [][]byte        // signature files of an image in dir: format
	Schema1    *Schema1        // source of Raw's conversion, or nil; only in dir: format
	Err        error           // why it is not usable as an image

	about string // names and platforms, as far as needed to describe it
}

// Schema1 is a converted schema 1 manifest.
type Schema1 struct {
	Manifest   []byte
	Signatures [][]byte // signatures of the manifest
	Config     []byte   // config made by the conversion; not stored in a file
}

// ErrNoLayout reports a directory or archive that is not an OCI layout.
var ErrNoLayout = errors.New("there is no index.json in it: this is not an OCI archive")

// Layout reads an OCI layout.
func (t *Tree) Layout() (*Layout, error) { return layoutOf(t.place) }

func layoutOf(from place) (*Layout, error) {
	raw, err := readDocument(from, v1.ImageIndexFile, "")
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrNoLayout
	}
	if err != nil {
		return nil, err
	}
	r := &layoutReader{from: from, known: map[digest.Digest]*Document{}}
	if err := r.list(raw, nil); err != nil {
		return nil, err
	}
	for n := 0; ; n++ { // each list once; lists may name further ones
		if n == len(r.Lists) {
			return &r.Layout, nil
		}
		if err := r.list(r.Lists[n].Raw, r.Lists[n]); err != nil {
			return nil, err
		}
	}
}

// layoutReader traverses a layout.
type layoutReader struct {
	Layout
	from  place
	known map[digest.Digest]*Document
	steps int // manifests and names visited, repetitions included
	size  int
}

// entry is an entry of an index.
type entry struct {
	manifest.Entry
	Annotations map[string]string `json:"annotations"`
}

// name returns the entry's name, or "".
func (e *entry) name() string {
	if name := e.Annotations[AnnotationImageName]; name != "" {
		return name
	}
	return e.Annotations[v1.AnnotationRefName]
}

// list adds the entries of an index: index.json, or the list by.
func (r *layoutReader) list(raw []byte, by *Document) error {
	var index struct {
		Manifests []entry `json:"manifests"`
	}
	err := manifest.Unmarshal(raw, &index)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok { // avoid the names of Go types
		return fmt.Errorf("index is not JSON as it should be: %s is of the type %s", cmp.Or(wrong.Field, "it"), wrong.Value)
	}
	if err != nil {
		return fmt.Errorf("index cannot be read: %w", err)
	}
	for n := range index.Manifests {
		if err := r.entry(&index.Manifests[n], by); err != nil {
			return err
		}
		if r.steps++; r.steps > maxEntries {
			return fmt.Errorf("more than the limit of %d manifests and names", maxEntries)
		}
	}
	return nil
}

func (r *layoutReader) entry(e *entry, by *Document) error {
	d := r.known[e.Digest]
	if d == nil {
		d = &Document{Digest: e.Digest}
		r.known[e.Digest] = d
		if err := r.read(d); err != nil {
			return err
		}
		switch {
		case d.Err != nil && errors.Is(d.Err, os.ErrNotExist):
			delete(r.known, e.Digest)
			if by != nil {
				return nil
			}
			d.Err = errors.New("is missing")
			r.Others = append(r.Others, d)
		case d.Err != nil:
			r.Others = append(r.Others, d)
		case d.Manifest.List:
			r.Lists = append(r.Lists, d)
		default:
			r.Images = append(r.Images, d)
		}
	}
	r.steps += d.add(e, by)
	return checkNames(d.Digest.String(), d.Names)
}

// checkNames refuses an image with too many names.
func checkNames(image string, names []string) error {
	if len(names) > maxNames {
		return fmt.Errorf("%s has more than the limit of %d names", image, maxNames)
	}
	return nil
}

// read reads a document, or sets its Err.
func (r *layoutReader) read(d *Document) error {
	if d.Digest.Validate() != nil || d.Digest.Algorithm() != digest.SHA256 {
		d.Err = errors.New("is not named by a sha256 digest")
		return nil //nolint:nilerr // recorded in the document
	}
	if d.Raw, d.Err = readBlob(r.from, d.Digest); d.Err != nil {
		return nil //nolint:nilerr // recorded in the document; others may be valid
	}
	if r.size += len(d.Raw); r.size > maxDocuments {
		return fmt.Errorf("manifests with more than the limit of %d bytes", maxDocuments)
	}
	d.Manifest, d.Err = manifest.Parse(d.Raw)
	return nil
}

func readBlob(from place, d digest.Digest) ([]byte, error) {
	b, err := from.blob(BlobName(d))
	if err != nil {
		return nil, err
	}
	defer b.Close()
	return read(b, d)
}

// BlobName returns the path of a blob in an OCI layout.
func BlobName(d digest.Digest) string {
	return "blobs/" + d.Algorithm().String() + "/" + d.Encoded()
}

// add records an index entry of the document, and returns how many names are new.
func (d *Document) add(e *entry, by *Document) (fresh int) {
	names := []string{}
	if by != nil {
		names = by.Names
		if n := len(d.Lists); n == 0 || d.Lists[n-1] != by.Digest { // entries of a list are read in one pass
			d.Lists = append(d.Lists, by.Digest)
		}
	}
	about := ""
	if e.Platform != nil {
		about += " " + e.Platform.String()
	}
	if name := e.name(); name != "" {
		about += fmt.Sprintf(" %q", name)
		names = append(slices.Clone(names), name)
		if by == nil && !slices.Contains(d.Own, name) {
			d.Own = append(d.Own, name)
		}
	}
	if len(d.about)+len(about) <= maxAbout {
		d.about += about
	}
	for _, name := range names {
		if !slices.Contains(d.Names, name) {
			d.Names = append(d.Names, name)
			fresh++
		}
	}
	return fresh
}
