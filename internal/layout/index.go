package layout

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
	refName       = "org.opencontainers.image.ref.name"

	ociManifest = "application/vnd.oci.image.manifest.v1+json"
	ociIndex    = "application/vnd.oci.image.index.v1+json"
	ociConfig   = "application/vnd.oci.image.config.v1+json"
	ociLayer    = "application/vnd.oci.image.layer."
)

// index is an index.json.
type index struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType,omitempty"`
	Manifests     []json.RawMessage `json:"manifests"`
	Annotations   json.RawMessage   `json:"annotations,omitempty"`
}

// descriptor is an entry of it, and a blob of a manifest.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      digest.Digest     `json:"digest"`
	Size        int64             `json:"size"`
	URLs        []string          `json:"urls,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// document is a manifest as it is written.
type document struct {
	raw    []byte
	digest digest.Digest
	name   string
}

// index reads the index of the layout that is there, if there is one.
func (f *folder) index() (*index, error) {
	names, err := f.at.Readdirnames(-1)
	if err != nil || len(names) == 0 {
		return &index{}, err
	}
	raw, err := f.read("index.json")
	_, none := f.read("oci-layout")
	if errors.Is(err, os.ErrNotExist) || none != nil {
		return nil, errors.New("the directory is there, and what is in it is no OCI layout: use another path")
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

// add adds a manifest. It takes the place of one with the same name, or, when it has no
// name, of itself.
func (i *index) add(d document) {
	entry := descriptor{MediaType: ociManifest, Digest: d.digest, Size: int64(len(d.raw))}
	if d.name != "" {
		entry.Annotations = map[string]string{refName: d.name}
	}
	i.Manifests = slices.DeleteFunc(i.Manifests, func(raw json.RawMessage) bool {
		var e descriptor
		if json.Unmarshal(raw, &e) != nil {
			return false
		}
		if d.name != "" {
			return e.Annotations[refName] == d.name
		}
		return e.Digest == d.digest && e.Annotations[refName] == ""
	})
	raw, err := json.Marshal(entry)
	if err != nil {
		panic(err) // strings and numbers always have a JSON form
	}
	i.Manifests = append(i.Manifests, raw)
}

func (i *index) encode() []byte {
	i.SchemaVersion = 2
	i.MediaType = ociIndex
	raw, err := json.Marshal(i)
	if err != nil {
		panic(err) // it was JSON before
	}
	return raw
}

// documents are the images' manifests in OCI's words.
func documents(images []Image, destination string) ([]document, error) {
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

// ociLayers are OCI's words for Docker's layers.
var ociLayers = map[string]string{
	"application/vnd.docker.image.rootfs.diff.tar":              "application/vnd.oci.image.layer.v1.tar",
	"application/vnd.docker.image.rootfs.diff.tar.gzip":         "application/vnd.oci.image.layer.v1.tar+gzip",
	"application/vnd.docker.image.rootfs.diff.tar.zstd":         "application/vnd.oci.image.layer.v1.tar+zstd",
	"application/vnd.docker.image.rootfs.foreign.diff.tar":      "application/vnd.oci.image.layer.nondistributable.v1.tar",
	"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip": "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
}

// asOCI returns the manifest as it is, or, where it has Docker's media types, with those of OCI:
// with the same config and layers, and all that OCI's manifests have besides.
func asOCI(raw []byte) ([]byte, error) {
	var out v1.Manifest
	if err := json.Unmarshal(raw, &out); err != nil {
		return nil, err
	}
	oci := out.MediaType == ociManifest || out.MediaType == "" && out.Config.MediaType == ociConfig
	same := oci && out.Config.MediaType == ociConfig
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
	out.MediaType, out.Config.MediaType = ociManifest, ociConfig
	if out.Layers == nil {
		out.Layers = []v1.Descriptor{}
	}
	return json.Marshal(out)
}
