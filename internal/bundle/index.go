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

// index collects the entries of index.json: lists, images that no list in the bundle names, and everything with a name. An
// image is thus one entry, with or without its list, and tools that expect exactly one entry find it.
type index struct {
	entries map[digest.Digest]v1.Descriptor
	names   map[digest.Digest][]string
	sure    map[digest.Digest]bool // listed even without a name
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
		case n.Digest == d.Digest: // named directly, whatever lists name it
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

// artifact adds an attachment of an image.
func (x *index) artifact(raw []byte, kind string) {
	d := describe(raw, v1.MediaTypeImageManifest)
	d.ArtifactType = kind
	x.entries[d.Digest] = d
	x.sure[d.Digest] = true
}

// sorted returns the entries by name, lists first within a name, then by platform.
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
			strings.Compare(platformOf(a), platformOf(b)), // none for a list
			strings.Compare(string(a.Digest), string(b.Digest)))
	})
	return all
}

// annotations returns the annotations that name an entry, in skopeo's form and, for names with a tag, in that of containerd
// and docker.
func annotations(name string) map[string]string {
	a := map[string]string{v1.AnnotationRefName: name}
	if named, err := reference.ParseNormalizedNamed(name); err == nil && !reference.IsNameOnly(named) {
		a[ocilayout.AnnotationImageName] = named.String()
	}
	return a
}

// byName sorts entries without a name last.
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

// describe returns the descriptor of a document, with the media type in the document.
func describe(raw []byte, usual string) v1.Descriptor {
	var head struct {
		MediaType string `json:"mediaType"`
	}
	_ = json.Unmarshal(raw, &head) // has been parsed before
	return v1.Descriptor{MediaType: cmp.Or(head.MediaType, usual), Digest: digest.FromBytes(raw), Size: int64(len(raw))}
}

// attachment returns an artifact that attaches files to an image, and its parts.
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

// listsNaming returns the lists that name the manifest, sorted.
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
