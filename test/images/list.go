package images

import "github.com/opencontainers/go-digest"

// List is a manifest list or index.
type List struct {
	Digest    digest.Digest // of Raw
	Raw       []byte
	MediaType string
	Entries   []Entry
}

// Entry is what a list names: an *Image or, nested, a *List.
type Entry interface {
	describe() descriptor
	push(p *pusher, repo string) error
}

// NewList makes a list of images and lists. Docker, Annotation, Edit and
// MediaType work as for images.
func NewList(entries []Entry, opts ...Option) *List {
	s := newSpec(opts)
	l := &List{MediaType: s.family.list, Entries: entries}
	descriptors := []descriptor{}
	for _, e := range entries {
		descriptors = append(descriptors, e.describe())
	}
	l.Raw = encode(struct {
		SchemaVersion int               `json:"schemaVersion"`
		MediaType     string            `json:"mediaType,omitempty"`
		Manifests     []descriptor      `json:"manifests"`
		Annotations   map[string]string `json:"annotations,omitempty"`
	}{2, s.family.list, descriptors, s.annotations}, s.edits)
	l.Digest = digest.FromBytes(l.Raw)
	return l
}

// Of collects the entries of a list.
func Of(entries ...Entry) []Entry { return entries }

func (img *Image) describe() descriptor {
	return descriptor{MediaType: img.MediaType, Digest: img.Digest, Size: int64(len(img.Raw)), Platform: &img.platform}
}

func (l *List) describe() descriptor {
	return descriptor{MediaType: l.MediaType, Digest: l.Digest, Size: int64(len(l.Raw))}
}
