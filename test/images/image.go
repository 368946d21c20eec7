package images

import (
	"encoding/json"
	"time"

	"github.com/opencontainers/go-digest"
)

// Image is an image, or something that pretends to be one.
type Image struct {
	Digest    digest.Digest // of Raw
	Raw       []byte        // the manifest
	MediaType string        // the manifest's Content-Type
	ID        digest.Digest // of Config; "" when there is none
	Config    []byte
	Layers    []LayerInfo

	platform platform
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
	Variant      string `json:"variant,omitempty"`
}

type descriptor struct {
	MediaType string        `json:"mediaType"`
	Digest    digest.Digest `json:"digest"`
	Size      int64         `json:"size"`
	URLs      []string      `json:"urls,omitempty"`
	Platform  *platform     `json:"platform,omitempty"`
}

type manifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType,omitempty"`
	ArtifactType  string            `json:"artifactType,omitempty"`
	Config        *descriptor       `json:"config,omitempty"`
	Layers        []descriptor      `json:"layers"`
	Annotations   map[string]string `json:"annotations,omitempty"`
}

func newSpec(opts []Option) *spec {
	s := &spec{family: oci, os: "linux", arch: "amd64", created: epoch, annotations: map[string]string{}}
	for _, o := range opts {
		o(s)
	}
	return s
}

// New makes an image. Without a layer option it has no layers.
func New(opts ...Option) *Image {
	s := newSpec(opts)
	img := &Image{
		MediaType: s.family.manifest,
		platform:  platform{Architecture: s.arch, OS: s.os, Variant: s.variant},
	}
	for i, src := range s.layers {
		img.Layers = append(img.Layers, src.make(s.seed, i))
	}
	m := manifest{SchemaVersion: 2, MediaType: s.family.manifest, Layers: []descriptor{}, Annotations: s.annotations}
	m.Config = img.makeConfig(s)
	if s.artifact != "" {
		m.ArtifactType = s.artifact
	}
	for i, l := range img.Layers {
		if l.MediaType == "" {
			l.MediaType = s.family.layerType(l.compression, l.URLs != nil)
			img.Layers[i] = l
		}
		m.Layers = append(m.Layers, descriptor{MediaType: l.MediaType, Digest: l.Digest, Size: l.Size, URLs: l.URLs})
	}
	img.Raw = encode(m, s.edits)
	img.Digest = digest.FromBytes(img.Raw)
	return img
}

// makeConfig makes the config blob and returns its descriptor, nil for none.
func (img *Image) makeConfig(s *spec) *descriptor {
	d := descriptor{MediaType: s.family.config}
	switch {
	case s.noConfig:
		return nil
	case s.artifact != "":
		img.Config, d.MediaType = []byte("{}"), OCIEmpty
	case s.configBytes != nil:
		img.Config = s.configBytes
	default:
		img.Config = img.config(s)
	}
	img.ID = digest.FromBytes(img.Config)
	d.Digest, d.Size = img.ID, int64(len(img.Config))
	return &d
}

func (img *Image) config(s *spec) []byte {
	type history struct {
		Created   string `json:"created"`
		CreatedBy string `json:"created_by"`
	}
	created := s.created.UTC().Format(time.RFC3339)
	diffIDs := []digest.Digest{}
	steps := []history{}
	for _, l := range img.Layers {
		diffIDs = append(diffIDs, l.DiffID)
		steps = append(steps, history{created, "test"})
	}
	settings := s.config
	if settings == nil {
		settings = map[string]any{"Cmd": []string{"/bin/sh"}}
	}
	data, err := json.Marshal(struct {
		platform
		Created string         `json:"created"`
		Config  map[string]any `json:"config"`
		RootFS  map[string]any `json:"rootfs"`
		History []history      `json:"history"`
	}{img.platform, created, settings, map[string]any{"type": "layers", "diff_ids": diffIDs}, steps})
	must(err)
	return data
}

// encode writes a manifest, through a map when it is to be changed.
func encode(v any, edits []func(map[string]any)) []byte {
	data, err := json.Marshal(v)
	must(err)
	if len(edits) == 0 {
		return data
	}
	var m map[string]any
	must(json.Unmarshal(data, &m))
	for _, edit := range edits {
		edit(m)
	}
	data, err = json.Marshal(m)
	must(err)
	return data
}

// Size is the sum of the sizes of the config and all different layers: what a
// client has to download besides the manifest.
func (img *Image) Size() int64 {
	sum := int64(len(img.Config))
	seen := map[digest.Digest]bool{}
	for _, l := range img.Layers {
		if !seen[l.Digest] && l.URLs == nil {
			sum += l.Size
		}
		seen[l.Digest] = true
	}
	return sum
}
