package cacheinfo

import (
	"bytes"
	"fmt"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/manifest"
)

// Detail describes an image in full.
type Detail struct {
	*Image
	MediaType  string // of the manifest; "" if missing
	Path       string // path of image/
	Config     *Config
	Layers     []Layer // lowest first, duplicates included
	Signatures []Signature
}

// Layer is a layer of an image.
type Layer struct {
	Blob
	DiffID    digest.Digest // of the uncompressed content; "" if the config has none
	CreatedBy string        // the step that made it; "" if the config has none
}

// Signature is a signature published with an image. The policy of the publishing machine verified it; it is not verified
// here.
type Signature struct {
	Kind     string // simple (OpenPGP) or sigstore
	Bytes    int
	Identity string // signed name; only for sigstore
}

// Inspect reads all details of an image found by Scan.
func Inspect(c *cache.Cache, i *Image) (*Detail, error) {
	pub, err := c.OpenImage(i.ID)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", i.ID, err)
	}
	defer pub.Close()
	d := &Detail{Image: i, Path: pub.Path(), Config: &Config{}}
	raw, err := pub.Manifest()
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", i.ID, err)
	}
	m, err := manifest.Parse(raw)
	if err != nil || m.List || m.Config.Digest != i.ID {
		return nil, fmt.Errorf("image %s: %s", i.ID, i.Problem)
	}
	var head struct {
		MediaType string `json:"mediaType"`
	}
	_ = manifest.Unmarshal(raw, &head)
	d.MediaType = head.MediaType
	if config, err := readConfig(pub, m.Config); err == nil {
		d.Config = config
	}
	sigs, err := pub.Signatures()
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", i.ID, err)
	}
	if old, err := pub.Schema1(); err == nil && old != nil {
		sigs = append(sigs, old.Signatures...)
	}
	for _, s := range sigs {
		d.Signatures = append(d.Signatures, signatureOf(s))
	}
	d.readLayers(m)
	return d, nil
}

// readLayers reads the layers in the manifest, with diff IDs and history from the config.
func (d *Detail) readLayers(m *manifest.Manifest) {
	blobs := map[digest.Digest]Blob{}
	for _, b := range d.Blobs {
		blobs[b.Digest] = b
	}
	var steps []string
	for _, s := range d.Config.History {
		if !s.Empty {
			steps = append(steps, s.CreatedBy)
		}
	}
	for n, l := range m.Layers {
		layer := Layer{Blob: blobs[l.Digest]}
		layer.Descriptor = l
		if diffs := d.Config.RootFS.DiffIDs; len(diffs) == len(m.Layers) {
			layer.DiffID = diffs[n]
		}
		if len(steps) == len(m.Layers) {
			layer.CreatedBy = steps[n]
		}
		d.Layers = append(d.Layers, layer)
	}
}

// SigstorePrefix starts the file of a sigstore signature; others are OpenPGP messages.
var SigstorePrefix = []byte("\x00sigstore-json\n")

func signatureOf(raw []byte) Signature {
	rest, ok := bytes.CutPrefix(raw, SigstorePrefix)
	if !ok {
		return Signature{Kind: "simple", Bytes: len(raw)}
	}
	s := Signature{Kind: "sigstore", Bytes: len(raw)}
	var signed struct {
		Payload []byte `json:"payload"`
	}
	var claims struct {
		Critical struct {
			Identity struct {
				Reference string `json:"docker-reference"`
			} `json:"identity"`
		} `json:"critical"`
	}
	if manifest.Unmarshal(rest, &signed) == nil && manifest.Unmarshal(signed.Payload, &claims) == nil {
		s.Identity = claims.Critical.Identity.Reference
	}
	return s
}
