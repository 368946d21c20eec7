package ocilayout

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
)

const (
	blobDir       = "blobs/sha256/"
	layoutVersion = `{"imageLayoutVersion": "1.0.0"}`

	ociLayer = "application/vnd.oci.image.layer." // prefix of the media types of layers
)

// index is an index.json.
type index struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType,omitempty"`
	Manifests     []json.RawMessage `json:"manifests"`
	Annotations   json.RawMessage   `json:"annotations,omitempty"`
}

// document is a manifest to write.
type document struct {
	raw    []byte
	digest digest.Digest
	name   string
}

// index reads the index of the existing layout, if any.
func (f *dirWriter) index() (*index, error) {
	names, err := f.at.Readdirnames(-1)
	if err != nil || len(names) == 0 {
		return &index{}, err
	}
	raw, err := f.read(v1.ImageIndexFile)
	_, none := f.read(v1.ImageLayoutFile)
	if errors.Is(err, os.ErrNotExist) || none != nil {
		return nil, errors.New("the directory is not empty and not an OCI layout: use another path")
	}
	if err != nil {
		return nil, err
	}
	var i index
	if err := json.Unmarshal(raw, &i); err != nil {
		return nil, fmt.Errorf("index.json of the layout that is there: %w", err)
	}
	return &i, nil
}

// add adds a manifest, replacing the one with the same name or, if it has no name, the same digest.
func (i *index) add(d document) {
	entry := v1.Descriptor{MediaType: v1.MediaTypeImageManifest, Digest: d.digest, Size: int64(len(d.raw))}
	if d.name != "" {
		entry.Annotations = map[string]string{v1.AnnotationRefName: d.name}
	}
	i.Manifests = slices.DeleteFunc(i.Manifests, func(raw json.RawMessage) bool {
		var e v1.Descriptor
		if json.Unmarshal(raw, &e) != nil {
			return false
		}
		if d.name != "" {
			return e.Annotations[v1.AnnotationRefName] == d.name
		}
		return e.Digest == d.digest && e.Annotations[v1.AnnotationRefName] == ""
	})
	i.append(entry)
}

// append appends an entry.
func (i *index) append(entry v1.Descriptor) {
	raw, err := json.Marshal(entry)
	if err != nil {
		panic(err) // strings and numbers always have a JSON form
	}
	i.Manifests = append(i.Manifests, raw)
}

func (i *index) encode() []byte {
	i.SchemaVersion = 2
	i.Manifests = append([]json.RawMessage{}, i.Manifests...)
	i.MediaType = v1.MediaTypeImageIndex
	raw, err := json.Marshal(i)
	if err != nil {
		panic(err) // it has been valid JSON before
	}
	return raw
}

// documents returns the images' manifests, with OCI media types.
func documents(images []Item, destination string) ([]document, error) {
	var docs []document
	for _, img := range images {
		if len(img.Signatures()) > 0 && !img.RemoveSignatures {
			return nil, fmt.Errorf("image %q %w", img.Name(), &SignedError{destination})
		}
		raw, err := asOCI(img.Raw())
		if err != nil {
			return nil, fmt.Errorf("image %q: %w", img.Name(), err)
		}
		docs = append(docs, document{raw, digest.FromBytes(raw), img.Reference})
	}
	return docs, nil
}

// ociLayers maps Docker's media types of layers to OCI's.
var ociLayers = map[string]string{
	"application/vnd.docker.image.rootfs.diff.tar":              "application/vnd.oci.image.layer.v1.tar",
	"application/vnd.docker.image.rootfs.diff.tar.gzip":         "application/vnd.oci.image.layer.v1.tar+gzip",
	"application/vnd.docker.image.rootfs.diff.tar.zstd":         "application/vnd.oci.image.layer.v1.tar+zstd",
	"application/vnd.docker.image.rootfs.foreign.diff.tar":      "application/vnd.oci.image.layer.nondistributable.v1.tar",
	"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
}

// asOCI returns the manifest unchanged or, if it has Docker's media types, with OCI's, the same config and layers, and all
// other fields of OCI manifests.
func asOCI(raw []byte) ([]byte, error) {
	var out v1.Manifest
	if err := json.Unmarshal(raw, &out); err != nil {
		return nil, err
	}
	oci := out.MediaType == v1.MediaTypeImageManifest || out.MediaType == "" && out.Config.MediaType == v1.MediaTypeImageConfig
	same := oci && out.Config.MediaType == v1.MediaTypeImageConfig
	for i := range out.Layers {
		l := &out.Layers[i]
		media, docker := ociLayers[l.MediaType]
		switch {
		case docker:
			l.MediaType, same = media, false
		case !strings.HasPrefix(l.MediaType, ociLayer) && !oci:
			return nil, fmt.Errorf("layer %s has the media type %q, which OCI has no word for", l.Digest, l.MediaType)
		}
	}
	if same {
		return raw, nil
	}
	out.MediaType, out.Config.MediaType = v1.MediaTypeImageManifest, v1.MediaTypeImageConfig
	if out.Layers == nil {
		out.Layers = []v1.Descriptor{}
	}
	return json.Marshal(out)
}
