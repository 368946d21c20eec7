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

// AnnotationImageName is the annotation with which containerd and docker name an image, where
// org.opencontainers.image.ref.name has the tag alone.
const AnnotationImageName = "io.containerd.image.name"

const (
	maxDocuments = 256 << 20 // how many bytes all documents of a layout may have
	maxNames     = 1000      // how many names an image may have
	maxAbout     = 200       // how many bytes are kept to tell an image from others
)

// Layout is what an OCI layout names, in the order in which it does. What a manifest list names and
// is not there does not count: of a list, one platform may be all there is.
type Layout struct {
	Images []*Document
	Lists  []*Document
	Others []*Document // what is neither, with Err
}

// Document is a manifest or a manifest list. Its bytes have its digest.
type Document struct {
	Digest     digest.Digest
	Raw        []byte
	Manifest   *manifest.Manifest
	Names      []string        // that index.json gives it, or a list that names it
	Own        []string        // of them, those that index.json gives it
	Lists      []digest.Digest // that name it
	Signatures [][]byte        // of an image in a directory of the dir: format, in that format
	Schema1    *Schema1        // what Raw was converted from, or nil; only of a directory of the dir: format
	Err        error           // why it is not a usable image

	about string // its names and platforms, as they were read, or as many as are enough
}

// Schema1 is a manifest of Docker's schema 1 that was converted.
type Schema1 struct {
	Manifest   []byte
	Signatures [][]byte // of it
	Config     []byte   // which the conversion made: there is no file of it
}

// ErrNoLayout says that a directory or an archive is not in the format of OCI.
var ErrNoLayout = errors.New("there is no index.json in it: this is not an OCI archive")

// Layout reads what is in an OCI layout.
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
	for n := 0; ; n++ { // each list once, however often it is named; they may name more
		if n == len(r.Lists) {
			return &r.Layout, nil
		}
		if err := r.list(r.Lists[n].Raw, r.Lists[n]); err != nil {
			return nil, err
		}
	}
}

// layoutReader walks through a layout.
type layoutReader struct {
	Layout
	from  place
	known map[digest.Digest]*Document
	steps int // manifests and names, as often as they are named
	size  int
}

// entry is one of an index.
type entry struct {
	manifest.Entry
	Annotations map[string]string `json:"annotations"`
}

// name is what the index calls the entry, "" for nothing.
func (e *entry) name() string {
	if name := e.Annotations[AnnotationImageName]; name != "" {
		return name
	}
	return e.Annotations[v1.AnnotationRefName]
}

// list adds what an index names: index.json, or the list in by.
func (r *layoutReader) list(raw []byte, by *Document) error {
	var index struct {
		Manifests []entry `json:"manifests"`
	}
	err := manifest.Unmarshal(raw, &index)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok { // not in the words of Go
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

// checkNames refuses an image with too many of them.
func checkNames(image string, names []string) error {
	if len(names) > maxNames {
		return fmt.Errorf("%s has more than the limit of %d names", image, maxNames)
	}
	return nil
}

// read fills a document, or says why it cannot be used.
func (r *layoutReader) read(d *Document) error {
	if d.Digest.Validate() != nil || d.Digest.Algorithm() != digest.SHA256 {
		d.Err = errors.New("is not named by a sha256 digest")
		return nil //nolint:nilerr // as below
	}
	if d.Raw, d.Err = readBlob(r.from, d.Digest); d.Err != nil {
		return nil //nolint:nilerr // the document has it; the others may be well
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

// BlobName is the name of a blob in an OCI layout.
func BlobName(d digest.Digest) string {
	return "blobs/" + d.Algorithm().String() + "/" + d.Encoded()
}

// add notes how an index names the document, and returns how many names are new.
func (d *Document) add(e *entry, by *Document) (fresh int) {
	names := []string{}
	if by != nil {
		names = by.Names
		if n := len(d.Lists); n == 0 || d.Lists[n-1] != by.Digest { // it is read in one go
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
