package bundle

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/ocilayout"
)

// index collects what index.json names: lists; images that no list in the bundle names; and what has
// a name of its own. So one image is one entry, with its list or without, and tools that expect
// one find it.
type index struct {
	entries map[digest.Digest]v1.Descriptor
	names   map[digest.Digest][]string
	sure    map[digest.Digest]bool // it is there also without a name
}

func newIndex() *index {
	return &index{entries: map[digest.Digest]v1.Descriptor{}, names: map[digest.Digest][]string{}, sure: map[digest.Digest]bool{}}
}

// list adds a manifest list.
func (x *index) list(raw []byte) {
	d := describe(raw, v1.MediaTypeImageIndex)
	x.entries[d.Digest] = d
	x.sure[d.Digest] = true
}

// image adds an image. by are the lists in the bundle that name it.
func (x *index) image(p *picked, by []digest.Digest) {
	d := describe(p.raw, v1.MediaTypeImageManifest)
	if p.platform.Architecture != "" || p.platform.OS != "" {
		d.Platform = &v1.Platform{OS: p.platform.OS, Architecture: p.platform.Architecture, Variant: p.platform.Variant}
	}
	x.entries[d.Digest] = d
	if len(by) == 0 {
		x.sure[d.Digest] = true
	}
	for _, n := range p.Names {
		at := d.Digest
		switch {
		case n.Digest == d.Digest: // pinned by itself, whatever lists name it
		case slices.Contains(by, n.Digest):
			at = n.Digest
		case len(by) == 1:
			at = by[0]
		}
		if !slices.Contains(x.names[at], n.Name) {
			x.names[at] = append(x.names[at], n.Name)
		}
	}
}

// artifact adds what is attached to an image.
func (x *index) artifact(raw []byte, kind string) {
	d := describe(raw, v1.MediaTypeImageManifest)
	d.ArtifactType = kind
	x.entries[d.Digest] = d
	x.sure[d.Digest] = true
}

// sorted are the entries: by name, of one name lists first, then by platform.
func (x *index) sorted() []v1.Descriptor {
	var all []v1.Descriptor
	for d, e := range x.entries {
		for _, name := range x.names[d] {
			e.Annotations = annotations(name)
			all = append(all, e)
		}
		if len(x.names[d]) == 0 && x.sure[d] {
			all = append(all, e)
		}
	}
	slices.SortFunc(all, func(a, b v1.Descriptor) int {
		return cmp.Or(
			byName(a.Annotations[v1.AnnotationRefName], b.Annotations[v1.AnnotationRefName]),
			cmp.Compare(len(a.ArtifactType), len(b.ArtifactType)),
			strings.Compare(platformOf(a), platformOf(b)), // a list has none
			strings.Compare(string(a.Digest), string(b.Digest)))
	})
	return all
}

// annotations give an entry its name, as skopeo writes it and, if that is one of an image with a tag, as
// containerd and docker do.
func annotations(name string) map[string]string {
	a := map[string]string{v1.AnnotationRefName: name}
	if named, err := reference.ParseNormalizedNamed(name); err == nil && !reference.IsNameOnly(named) {
		a[ocilayout.AnnotationImageName] = named.String()
	}
	return a
}

// byName has what has no name at the end.
func byName(a, b string) int {
	if (a == "") != (b == "") {
		return strings.Compare(b, a)
	}
	return strings.Compare(a, b)
}

func platformOf(d v1.Descriptor) string {
	if d.Platform == nil {
		return ""
	}
	return d.Platform.OS + "/" + d.Platform.Architecture + "/" + d.Platform.Variant
}

// describe is the descriptor of a document, with the media type that it names itself by.
func describe(raw []byte, usual string) v1.Descriptor {
	var head struct {
		MediaType string `json:"mediaType"`
	}
	_ = json.Unmarshal(raw, &head) // it was parsed before
	return v1.Descriptor{MediaType: cmp.Or(head.MediaType, usual), Digest: digest.FromBytes(raw), Size: int64(len(raw))}
}

// attachment is the artifact that attaches files to an image, and its parts.
func attachment(p *picked, kind string, files [][]byte) (artifact []byte, parts [][]byte) {
	empty := []byte("{}")
	subject := describe(p.raw, v1.MediaTypeImageManifest)
	a := v1.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: v1.MediaTypeImageManifest, ArtifactType: kind,
		Config:  v1.Descriptor{MediaType: v1.MediaTypeEmptyJSON, Digest: digest.FromBytes(empty), Size: int64(len(empty))},
		Subject: &subject,
	}
	parts = append(parts, empty)
	for _, file := range files {
		a.Layers = append(a.Layers, v1.Descriptor{MediaType: signatureType, Digest: digest.FromBytes(file), Size: int64(len(file))})
		parts = append(parts, file)
	}
	artifact, err := json.Marshal(a)
	if err != nil {
		panic(err) // strings and numbers
	}
	return artifact, parts
}

// listsNaming are those of the lists that name the manifest, sorted.
func listsNaming(lists map[digest.Digest]*manifest.Manifest, d digest.Digest) []digest.Digest {
	var by []digest.Digest
	for l, m := range lists {
		if slices.ContainsFunc(m.Entries, func(e manifest.Entry) bool { return e.Digest == d }) {
			by = append(by, l)
		}
	}
	slices.Sort(by)
	return by
}
