// Package pin resolves tags to digests, stores them in a pin file, and checks whether they are still current.
//
// A pin records what was served at its time: digests of manifest list, manifest and image id are computed from the bytes
// received. A pin file is sorted and stable, so that a change of one image is a change of one block, and it is replaced
// atomically. Pinning does not check signatures, nor that the layers exist: fetching does.
package pin

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/atomicfile"
	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/request"
	"osbuild-containers/internal/resolve"
	"osbuild-containers/schemas"
)

// FileName is the default name of a pin file.
const FileName = "containers.lock.json"

// File is the content of a pin file; schemas/containers.lock.schema.json describes it.
type File struct {
	Version int     `json:"version"` // 1
	Images  []Image `json:"images"`  // sorted by reference, then platform
}

// Image is one pinned image.
type Image struct {
	Reference       string        `json:"reference"`                  // full name with its tag, or name@digest if no tag was given
	Transport       string        `json:"transport,omitempty"`        // "" is docker; or containers-storage
	StorageLocation string        `json:"storage-location,omitempty"` // containers-storage: graph root, "" for that of storage.conf
	Platform        string        `json:"platform"`                   // os/architecture[/variant], or any
	List            digest.Digest `json:"list,omitempty"`             // manifest list that names the manifest, if there is one
	Manifest        digest.Digest `json:"manifest"`
	Schema1         bool          `json:"schema1,omitempty"` // the manifest is of Docker's schema 1; ID and Layers are of the converted image
	ID              digest.Digest `json:"id"`                // image id, the digest of the config
	Layers          []Layer       `json:"layers"`
	Base            *Base         `json:"base,omitempty"` // base that the image names
	Resolved        time.Time     `json:"resolved"`       // UTC, whole seconds
	From            string        `json:"from,omitempty"` // mirror that served it, if not the registry itself
}

// Layer is one layer of a pinned image, lowest first.
type Layer struct {
	Digest digest.Digest `json:"digest"`
	Size   int64         `json:"size"` // bytes, as served
}

// Base is the image that another was built on, from that one's annotations org.opencontainers.image.base.name and
// org.opencontainers.image.base.digest.
type Base struct {
	Name   string        `json:"name"`
	Digest digest.Digest `json:"digest"`
}

// Size returns the size of the distinct layers, in bytes.
func (i *Image) Size() (total int64) {
	seen := map[digest.Digest]bool{}
	for _, l := range i.Layers {
		if !seen[l.Digest] {
			total = manifest.AddSizes(total, l.Size)
		}
		seen[l.Digest] = true
	}
	return total
}

// Pinned returns the digest that the tag pointed to: that of the list, or else of the manifest.
func (i *Image) Pinned() digest.Digest { return cmp.Or(i.List, i.Manifest) }

// key returns what identifies an image in a file.
func (i *Image) key() [4]string {
	return [4]string{i.Reference, i.Platform, i.Transport, i.StorageLocation}
}

func (f *File) sort() {
	slices.SortStableFunc(f.Images, func(a, b Image) int {
		ka, kb := a.key(), b.key()
		return slices.Compare(ka[:], kb[:])
	})
}

// New returns a File without images.
func New() *File { return &File{Version: 1, Images: []Image{}} }

// Read reads a pin file.
func Read(path string) (*File, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, hint.Add(err, "pin images first, or name the pin file")
	}
	if err != nil {
		return nil, err
	}
	f, err := Parse(raw)
	switch {
	case err == nil:
		return f, nil
	case bytes.HasPrefix(raw, []byte("<<<<<<< ")) || bytes.Contains(raw, []byte("\n<<<<<<< ")):
		return nil, hint.Add(fmt.Errorf("%s has the marks of a merge conflict", path), "resolve it, then pin the images of both sides again")
	case newer(raw):
		return nil, fmt.Errorf("%s was made by a newer osbuild-containers, which writes another version of pin files", path)
	}
	return nil, fmt.Errorf("%s is not a pin file: %w", path, err)
}

// newer reports whether raw is a pin file of a later version.
func newer(raw []byte) bool {
	var f struct {
		Version int             `json:"version"`
		Images  json.RawMessage `json:"images"`
	}
	return json.Unmarshal(raw, &f) == nil && f.Version > 1 && f.Images != nil
}

// ReadOrNew is Read for a file that will be written: it returns an empty File if there is none, and refuses a path that
// Write would refuse.
func ReadOrNew(path string) (*File, error) {
	if place, err := resolve.Target(path); err == nil {
		place.Close()
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	f, err := Read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return New(), nil
	}
	return f, err
}

// Parse parses a pin file and validates it against the schema.
func Parse(raw []byte) (*File, error) {
	f := &File{}
	if err := request.DecodeDocument(schemas.PinFile(), raw, f); err != nil {
		return nil, err
	}
	seen := make(map[[4]string]bool, len(f.Images))
	for n := range f.Images {
		i := &f.Images[n]
		if i.Transport == request.Docker {
			i.Transport = ""
		}
		if err := i.check(); err != nil {
			return nil, fmt.Errorf("images[%d]: %w", n, err)
		}
		if seen[i.key()] {
			return nil, fmt.Errorf("images[%d]: %s for %s is given twice: remove one", n, i.Reference, i.Platform)
		}
		seen[i.key()] = true
	}
	f.sort()
	return f, nil
}

// check checks what the schema cannot express.
func (i *Image) check() error {
	ref, err := i.ref()
	if err != nil {
		return err
	}
	if got := ref.String(); got != i.Reference {
		return fmt.Errorf("reference: %s is not written in full, which would be %s", i.Reference, got)
	}
	if p, err := ParsePlatform(i.Platform); err != nil || p.String() != i.Platform {
		return fmt.Errorf("platform: %q is not os/architecture[/variant] in Go's names, nor any", i.Platform)
	}
	if size := i.Size(); size > manifest.MaxBlob {
		return fmt.Errorf("layers: the sizes add up to more than the limit of %d bytes", int64(manifest.MaxBlob))
	}
	if i.StorageLocation != "" && (i.Transport == "" || !filepath.IsAbs(i.StorageLocation)) {
		return fmt.Errorf("storage-location: %s: want an absolute path, of a containers-storage", i.StorageLocation)
	}
	return nil
}

// Encode returns the content of the file: a block for each image and a line for each layer. Equal images give equal bytes.
func (f *File) Encode() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "{\n  \"version\": %d,\n  \"images\": [", f.Version)
	for n := range f.Images {
		if n > 0 {
			b.WriteByte(',')
		}
		b.WriteString("\n    ")
		f.Images[n].encode(&b)
	}
	if len(f.Images) > 0 {
		b.WriteString("\n  ")
	}
	b.WriteString("]\n}\n")
	return b.Bytes()
}

func (i *Image) encode(b *bytes.Buffer) {
	layers := i.Layers
	bare := *i
	bare.Layers = []Layer{}
	var block bytes.Buffer
	enc := json.NewEncoder(&block)
	enc.SetEscapeHTML(false)
	enc.SetIndent("    ", "  ")
	if err := enc.Encode(&bare); err != nil {
		panic(err) // strings and a time
	}
	head, tail, _ := bytes.Cut(bytes.TrimRight(block.Bytes(), "\n"), []byte("\"layers\": []"))
	b.Write(head)
	b.WriteString("\"layers\": [")
	for n, l := range layers {
		if n > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(b, "\n        {\"digest\": %q, \"size\": %d}", l.Digest, l.Size)
	}
	if len(layers) > 0 {
		b.WriteString("\n      ")
	}
	b.WriteByte(']')
	b.Write(tail)
}

// Write replaces the file at path. It returns an error if Read would not return the same File.
func (f *File) Write(path string) error {
	raw := f.Encode()
	if err := readsBack(raw); err != nil {
		for n := range f.Images {
			one := File{Version: f.Version, Images: f.Images[n : n+1]}
			if err := readsBack(one.Encode()); err != nil {
				return fmt.Errorf("%s for %s cannot be pinned: %w", f.Images[n].Reference, f.Images[n].Platform, err)
			}
		}
		return fmt.Errorf("%s cannot be written: %w", path, err)
	}
	return atomicfile.Replace(path, raw)
}

// readsBack returns an error unless the content can be read and encodes to the same bytes.
func readsBack(raw []byte) error {
	f, err := Parse(raw)
	if err != nil {
		return err
	}
	if !bytes.Equal(f.Encode(), raw) {
		return errors.New("what would be read of it is something else")
	}
	return nil
}

// Merge adds images to the file. An unchanged image keeps its block and its time.
func (f *File) Merge(images []Image) (added, changed int) {
	at := make(map[[4]string]int, len(f.Images))
	for n := range f.Images {
		at[f.Images[n].key()] = n
	}
	for _, i := range images {
		n, known := at[i.key()]
		switch {
		case !known:
			at[i.key()] = len(f.Images)
			f.Images = append(f.Images, i)
			added++
		case !i.same(&f.Images[n]):
			f.Images[n] = i
			changed++
		}
	}
	f.sort()
	return added, changed
}

// Remove removes images from the file, and returns those it had.
func (f *File) Remove(images []Image) []Image {
	removed := []Image{}
	f.Images = slices.DeleteFunc(f.Images, func(i Image) bool {
		gone := slices.ContainsFunc(images, func(o Image) bool { return o.key() == i.key() })
		if gone {
			removed = append(removed, i)
		}
		return gone
	})
	return removed
}

// same reports whether two pins name the same bytes.
func (i *Image) same(o *Image) bool {
	return i.List == o.List && i.Manifest == o.Manifest && i.ID == o.ID
}
