// Package manifest parses image manifests and manifest lists (another name for OCI indexes). They are untrusted input,
// pinned by digest.
//
// [Parse] refuses ambiguous documents: those with both layers and manifests, with a media type that contradicts their
// fields, or without a config. Tools interpret them differently, but the meaning of a pin must not depend on the tool.
// Nothing is changed or re-encoded.
package manifest

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"

	fastjson "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

// MaxSize is the largest manifest or manifest list accepted, in bytes: the limit of
// containers/image and of the common registries.
const MaxSize = 4 << 20

// Limits of a manifest. Real images have less than a hundred layers, and lists a few dozen entries; the count of elements
// bounds the memory that 4 MiB of empty objects would take.
const (
	MaxBlob     = 1 << 50 // bytes of a blob, and of all blobs of a document together
	maxElements = 50_000  // objects and arrays of a document
)

// Media types of Docker's image manifest version 2, schema 2.
const (
	dockerManifest = "application/vnd.docker.distribution.manifest.v2+json"
	dockerList     = "application/vnd.docker.distribution.manifest.list.v2+json"
	dockerConfig   = "application/vnd.docker.container.image.v1+json"
	octetStream    = "application/octet-stream" // Docker 1.9's media type for configs
)

// Descriptor names a blob or a manifest by digest and size.
type Descriptor struct {
	MediaType string        `json:"mediaType"`
	Digest    digest.Digest `json:"digest"`
	Size      int64         `json:"size"` // bytes; negative, for unknown, for a layer of schema 1
	URLs      []string      `json:"urls"` // where a foreign layer can be downloaded
}

// Platform is the platform that an image runs on.
type Platform struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	Variant      string `json:"variant"`
}

// String returns os/architecture[/variant], or "unknown" if both are empty.
func (p *Platform) String() string {
	if p == nil || p.OS == "" && p.Architecture == "" {
		return "unknown"
	}
	s := p.OS + "/" + p.Architecture
	if p.Variant != "" {
		s += "/" + p.Variant
	}
	return s
}

// An Entry is one manifest of a manifest list.
type Entry struct {
	Descriptor
	Platform *Platform `json:"platform"`
}

// Manifest is a parsed document: an image (Config and Layers) or a list (Entries).
type Manifest struct {
	List    bool
	Config  Descriptor
	Layers  []Descriptor // lowest first, including repeated ones
	Entries []Entry
	Mixed   bool // an image with both OCI's and Docker's media types: see MixedNote
}

// MixedNote is the note for an image with a mixed manifest, as made by some converters and by rebasing.
const MixedNote = "its manifest mixes media types of OCI and of Docker: skopeo and podman refuse most of these"

// Blobs returns the config and layers of an image, config first, without duplicates.
func (m *Manifest) Blobs() []Descriptor {
	blobs := make([]Descriptor, 0, len(m.Layers)+1)
	seen := map[digest.Digest]bool{"": true} // a schema 1 image has no config until it is converted
	for i := -1; i < len(m.Layers); i++ {
		d := m.Config
		if i >= 0 {
			d = m.Layers[i]
		}
		if !seen[d.Digest] {
			seen[d.Digest] = true
			blobs = append(blobs, d)
		}
	}
	return blobs
}

// Size returns the total size of the blobs, in bytes, or -1 if a size is unknown.
func (m *Manifest) Size() (total int64) {
	for _, d := range m.Blobs() {
		if d.Size < 0 {
			return -1
		}
		total += d.Size
	}
	return total
}

// ErrArtifact is returned for a valid document that is not an image.
var ErrArtifact = errors.New("not a container image")

// document is the union of all formats. A nil slice or pointer is a field that is absent or null.
type document struct {
	SchemaVersion int             `json:"schemaVersion"`
	MediaType     *string         `json:"mediaType"`
	ArtifactType  string          `json:"artifactType"`
	Config        *Descriptor     `json:"config"`
	Layers        []Descriptor    `json:"layers"`
	Manifests     []Entry         `json:"manifests"`
	FSLayers      json.RawMessage `json:"fsLayers"`
}

// Parse parses one document. Like osbuild, it takes a document for a list if it has one of the two media types, or none and a
// field "manifests". Ambiguous documents, schema 1 (ErrSchema1) and artifacts (ErrArtifact) are errors.
func Parse(raw []byte) (*Manifest, error) {
	if len(raw) > MaxSize {
		return nil, fmt.Errorf("manifest is %d bytes long, the limit is %d", len(raw), MaxSize)
	}
	d, err := decode(raw)
	if err != nil {
		return nil, notJSON(err)
	}
	if err := checkNames(raw); err != nil {
		return nil, err
	}
	if d.SchemaVersion == 1 || d.FSLayers != nil {
		return nil, ErrSchema1
	}
	isList, err := d.isList()
	if err != nil {
		return nil, err
	}
	if isList {
		return d.list()
	}
	return d.image()
}

// decode decodes a document, which may repeat fields that this package does not read. A cache with thousands of images
// is read with the faster decoder, and what that one refuses with encoding/json, for its errors.
func decode(raw []byte) (*document, error) {
	if n := elements(raw); n > maxElements {
		return nil, &elementsError{n}
	}
	var d document
	if fastjson.Unmarshal(raw, &d, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)) == nil {
		return &d, nil
	}
	d = document{}
	err := json.Unmarshal(raw, &d)
	return &d, err
}

// notJSON describes a decoding error in terms of the document, not of Go types.
func notJSON(err error) error {
	if errors.As(err, new(*elementsError)) {
		return fmt.Errorf("manifest has %w", err)
	}
	wrong, ok := errors.AsType[*json.UnmarshalTypeError](err)
	if !ok {
		return fmt.Errorf("manifest is not JSON: %w", err)
	}
	want := "an object"
	switch wrong.Type.Kind() {
	case reflect.String:
		want = "a string"
	case reflect.Int, reflect.Int64:
		want = "a whole number"
	case reflect.Slice:
		want = "an array"
	}
	article := "a "
	switch {
	case strings.HasPrefix(wrong.Value, "number "): // a number out of range
		article = "the "
	case strings.HasPrefix(wrong.Value, "a"), strings.HasPrefix(wrong.Value, "o"):
		article = "an "
	}
	got := article + wrong.Value
	if wrong.Field == "" {
		return fmt.Errorf("manifest is %s, want %s", got, want)
	}
	return fmt.Errorf("manifest: %s is %s, want %s", wrong.Field, got, want)
}

func (d *document) isList() (bool, error) {
	image, list := d.Config != nil || d.Layers != nil, d.Manifests != nil
	switch {
	case d.Layers != nil && list:
		return false, errors.New("manifest is ambiguous: it has both layers and manifests")
	case image && list:
		return false, errors.New("manifest is ambiguous: it has both config and manifests")
	case !image && !list:
		return false, fmt.Errorf("manifest has neither layers nor manifests: %w", ErrArtifact)
	case d.MediaType == nil:
		return list, nil
	}
	switch *d.MediaType {
	case v1.MediaTypeImageIndex, dockerList:
		if image {
			return false, fmt.Errorf("manifest is inconsistent: its media type is %s, but it has layers", *d.MediaType)
		}
	case v1.MediaTypeImageManifest, dockerManifest:
		if list {
			return false, fmt.Errorf("manifest is inconsistent: its media type is %s, but it lists manifests", *d.MediaType)
		}
	default:
		return false, fmt.Errorf("manifest has the unknown media type %q: %w", *d.MediaType, ErrArtifact)
	}
	return list, nil
}

func (d *document) list() (*Manifest, error) {
	var total int64
	for i, e := range d.Manifests {
		if err := e.check(); err != nil {
			return nil, fmt.Errorf("manifest list: manifests[%d]: %w", i, err)
		}
		if total += e.Size; total > MaxBlob {
			return nil, fmt.Errorf("manifest list: %w", errTotal)
		}
		if e.Platform != nil {
			*e.Platform = e.Platform.Normalize()
		}
	}
	return &Manifest{List: true, Entries: d.Manifests}, nil
}

func (d *document) image() (*Manifest, error) {
	if d.Config == nil {
		return nil, fmt.Errorf("manifest has no config: %w", ErrArtifact)
	}
	switch d.Config.MediaType {
	case v1.MediaTypeImageConfig, dockerConfig, octetStream, "":
	default:
		return nil, fmt.Errorf("manifest is of an artifact of type %q: %w", cmp.Or(d.ArtifactType, d.Config.MediaType), ErrArtifact)
	}
	if err := d.Config.check(); err != nil {
		return nil, fmt.Errorf("manifest: config: %w", err)
	}
	if d.Layers == nil {
		return nil, errors.New("manifest has no layers field")
	}
	if kind := d.foreign(); kind != "" {
		return nil, fmt.Errorf("manifest has no file system, its layers are of type %q: %w", kind, ErrArtifact)
	}
	sizes := map[digest.Digest]int64{d.Config.Digest: d.Config.Size}
	total := d.Config.Size
	for i, l := range d.Layers {
		if err := l.check(); err != nil {
			return nil, fmt.Errorf("manifest: layers[%d]: %w", i, err)
		}
		if size, seen := sizes[l.Digest]; seen && size != l.Size {
			return nil, fmt.Errorf("manifest is inconsistent: %s is %d bytes long in one place and %d in another", l.Digest, size, l.Size)
		}
		sizes[l.Digest] = l.Size
		if total += l.Size; total > MaxBlob { // no overflow: each summand is at most MaxBlob
			return nil, fmt.Errorf("manifest: %w", errTotal)
		}
	}
	return &Manifest{Config: *d.Config, Layers: d.Layers, Mixed: d.mixed()}, nil
}

func (d *document) mixed() bool {
	types := []string{d.Config.MediaType}
	if d.MediaType != nil {
		types = append(types, *d.MediaType)
	}
	for _, l := range d.Layers {
		types = append(types, l.MediaType)
	}
	has := func(prefix string) bool {
		return slices.ContainsFunc(types, func(t string) bool { return strings.HasPrefix(t, prefix) })
	}
	return has("application/vnd.oci.") && has("application/vnd.docker.")
}

// foreign returns the media type of the first layer if no layer is a file system: attestations, signatures and SBOMs have
// the config of an image, too.
func (d *document) foreign() string {
	for _, l := range d.Layers {
		if isFileSystem(l.MediaType) {
			return ""
		}
	}
	if len(d.Layers) == 0 {
		return ""
	}
	return d.Layers[0].MediaType
}

// isFileSystem reports whether a layer with the media type may be a file system. The types in use all name an archive format,
// or are empty.
func isFileSystem(mediaType string) bool {
	if strings.HasSuffix(mediaType, "json") {
		return false
	}
	return slices.ContainsFunc([]string{"tar", "rootfs", "gzip", "octet-stream"}, func(part string) bool { return strings.Contains(mediaType, part) }) ||
		mediaType == ""
}

// errTotal is returned for a document whose blobs are too large together.
var errTotal = fmt.Errorf("the sizes add up to more than the limit of %d bytes", int64(MaxBlob))

// Unmarshal is json.Unmarshal for manifests, configs and other parts of images. It refuses a document with more objects and
// arrays than any real one before decoding it: two bytes of text can take hundreds of bytes of memory.
func Unmarshal(raw []byte, v any) error {
	if n := elements(raw); n > maxElements {
		return &elementsError{n}
	}
	return json.Unmarshal(raw, v)
}

// elementsError is returned for a document with too many objects and arrays.
type elementsError struct{ n int }

func (e *elementsError) Error() string {
	return fmt.Sprintf("%d objects and arrays, the limit is %d", e.n, maxElements)
}

// elements counts the objects and arrays of a JSON document. It does not check the syntax.
func elements(raw []byte) int {
	n, text, escaped := 0, false, false
	for _, c := range raw {
		switch {
		case escaped:
			escaped = false
		case text:
			escaped, text = c == '\\', c != '"'
		case c == '"':
			text = true
		case c == '{', c == '[':
			n++
		}
	}
	return n
}

// AddSizes returns the sum of two sizes, or math.MaxInt64 on overflow: sizes within a document are limited, but not those of
// several documents.
func AddSizes(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

// check refuses a digest that is not a safe file name, and a size out of range.
func (d *Descriptor) check() error {
	if !isSHA256(string(d.Digest)) {
		return fmt.Errorf("digest %q is not sha256: and 64 lower case hex digits", d.Digest)
	}
	if d.Size < 0 {
		return fmt.Errorf("%s: size %d is negative", d.Digest, d.Size)
	}
	if d.Size > MaxBlob {
		return fmt.Errorf("%s: size %d is above the limit of %d bytes", d.Digest, d.Size, int64(MaxBlob))
	}
	return nil
}

func isSHA256(s string) bool {
	hex, ok := strings.CutPrefix(s, "sha256:")
	if !ok || len(hex) != 64 {
		return false
	}
	for _, c := range []byte(hex) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
