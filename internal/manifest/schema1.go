package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/opencontainers/go-digest"
)

// Media types of Docker's image manifest version 2, schema 1.
const (
	MediaTypeSchema1       = "application/vnd.docker.distribution.manifest.v1+json"
	MediaTypeSchema1Signed = "application/vnd.docker.distribution.manifest.v1+prettyjws"
)

// maxSchema1 is the maximum number of layers of a schema 1 manifest. Docker allowed 127; the library's checks take longer the
// more there are.
const maxSchema1 = 5000

// MaxUnsized is the maximum size in bytes, compressed or not, of a layer without a size in its manifest: the default limit
// for unpacking a layer.
const MaxUnsized = 64 << 30

// ErrSchema1 is returned by Parse for a schema 1 manifest. ParseSchema1 accepts it.
var ErrSchema1 = errors.New("manifest is of Docker's schema 1, which is accepted only for an image that is pinned itself, not in a manifest list nor as one")

// Schema1 is a manifest of Docker's schema 1. It has no config, sizes or diff IDs: package image/schema1 converts it.
type Schema1 struct {
	// Layers are all layers, lowest first, duplicates included, but without layers that have the ID of the layer
	// above them, which Docker drops too.
	Layers []Schema1Layer
}

// Schema1Layer is a layer, with the data of its history entry.
type Schema1Layer struct {
	Digest digest.Digest
	Empty  bool // it changes no file and is not a layer of the image
}

// Manifest returns the image as far as it is known before conversion: non-empty layers of unknown sizes, lowest first, and no
// config.
func (s *Schema1) Manifest() *Manifest {
	m := &Manifest{}
	for _, l := range s.Layers {
		if !l.Empty {
			m.Layers = append(m.Layers, Descriptor{Digest: l.Digest, Size: -1})
		}
	}
	return m
}

// documentV1 has the fields of schema 1, and those that must be absent.
type documentV1 struct {
	document
	FSLayers []struct {
		BlobSum string `json:"blobSum"`
	} `json:"fsLayers"`
	History []struct {
		V1Compatibility string `json:"v1Compatibility"`
	} `json:"history"`
}

// compatibility has the fields read of a history entry.
type compatibility struct {
	ID        string `json:"id"`
	Parent    string `json:"parent"`
	ThrowAway bool   `json:"throwaway"`
}

// IsSchema1 reports whether Parse returns ErrSchema1 for the document.
func IsSchema1(raw []byte) bool {
	_, err := Parse(raw)
	return errors.Is(err, ErrSchema1)
}

// ParseSchema1 parses a schema 1 manifest without signatures, by Docker's rules: one history entry for each layer, with the
// layer's ID and that of the layer below as its parent; only adjacent entries may share an ID; the lowest has no parent.
func ParseSchema1(payload []byte) (*Schema1, error) {
	if len(payload) > MaxSize {
		return nil, fmt.Errorf("manifest is %d bytes long, the limit is %d", len(payload), MaxSize)
	}
	var d documentV1
	if err := Unmarshal(payload, &d); err != nil {
		return nil, notJSON(err)
	}
	if err := checkNames(payload); err != nil {
		return nil, err
	}
	if err := d.check(); err != nil {
		return nil, err
	}
	entries := make([]compatibility, len(d.History))
	for i, h := range d.History {
		if err := entries[i].parse(h.V1Compatibility); err != nil {
			return nil, fmt.Errorf("manifest: history[%d]: %w", i, err)
		}
	}
	return d.layers(entries)
}

// check checks everything except the chain of IDs.
func (d *documentV1) check() error {
	switch {
	case d.SchemaVersion != 1:
		return fmt.Errorf("manifest has the schema version %d, want 1", d.SchemaVersion)
	case d.Config != nil || d.Layers != nil || d.Manifests != nil:
		return errors.New("manifest is ambiguous: it is of schema 1, but it has config, layers or manifests")
	case d.MediaType != nil && *d.MediaType != MediaTypeSchema1 && *d.MediaType != MediaTypeSchema1Signed:
		return fmt.Errorf("manifest is inconsistent: its media type is %s, but it is of schema 1", *d.MediaType)
	case len(d.FSLayers) == 0:
		return errors.New("manifest has no layers in fsLayers")
	case len(d.FSLayers) > maxSchema1:
		return fmt.Errorf("manifest has %d layers in fsLayers, the limit of schema 1 is %d", len(d.FSLayers), maxSchema1)
	case len(d.FSLayers) != len(d.History):
		return fmt.Errorf("manifest has %d history entries, want %d, one for each layer", len(d.History), len(d.FSLayers))
	}
	for i, l := range d.FSLayers {
		if !isSHA256(l.BlobSum) {
			return fmt.Errorf("manifest: fsLayers[%d]: digest %q is not sha256: and 64 lower case hex digits", i, l.BlobSum)
		}
	}
	return nil
}

// parse parses a history entry.
func (c *compatibility) parse(text string) error {
	if text == "" {
		return errors.New("v1Compatibility is empty")
	}
	raw := []byte(text)
	if trimmed := bytes.TrimLeft(raw, " \t\r\n"); json.Valid(raw) && trimmed[0] != '{' {
		return errors.New("v1Compatibility is not an object")
	}
	if err := Unmarshal(raw, c); err != nil {
		return fmt.Errorf("v1Compatibility cannot be read: %w", err)
	}
	if !isSHA256("sha256:" + c.ID) {
		return fmt.Errorf("id %q is not 64 lower case hex digits", c.ID)
	}
	return nil
}

// layers checks the chain of IDs, which is stored newest first, and returns the layers.
func (d *documentV1) layers(entries []compatibility) (*Schema1, error) {
	base := len(entries) - 1
	if parent := entries[base].Parent; parent != "" {
		return nil, fmt.Errorf("manifest: history[%d]: the lowest layer has the parent %q, want none", base, parent)
	}
	s := &Schema1{}
	at := map[string]int{}
	for i := base; i >= 0; i-- {
		e := entries[i]
		if i < base {
			below := entries[i+1]
			if e.ID == below.ID {
				continue
			}
			if other, twice := at[e.ID]; twice {
				return nil, fmt.Errorf("manifest: history[%d]: id %s is that of history[%d] too", i, e.ID, other)
			}
			if e.Parent != below.ID {
				return nil, fmt.Errorf("manifest: history[%d]: parent is %q, want %q, the id of history[%d]", i, e.Parent, below.ID, i+1)
			}
		}
		at[e.ID] = i
		s.Layers = append(s.Layers, Schema1Layer{digest.Digest(d.FSLayers[i].BlobSum), e.ThrowAway})
	}
	return s, nil
}
