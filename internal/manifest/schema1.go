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

// maxSchema1 is how many layers a manifest of schema 1 may have: Docker itself allowed 127, and each check of the
// library takes longer the more there are.
const maxSchema1 = 5000

// MaxUnsized is how many bytes a layer may have whose size no manifest says, compressed or not: the default
// limit of a layer when it is unpacked.
const MaxUnsized = 64 << 30

// ErrSchema1 is the error of Parse for a manifest of schema 1. ParseSchema1 reads it.
var ErrSchema1 = errors.New("manifest is of Docker's schema 1, which is accepted only for an image that is pinned itself, not in a manifest list nor as one")

// Schema1 is a manifest of Docker's schema 1. It has no config, no sizes and no diff IDs: the package image/schema1
// converts it.
type Schema1 struct {
	// Layers are all layers, lowest first, including repeated ones. Those with the ID of the layer above
	// them are left out, as Docker does.
	Layers []Schema1Layer
}

// Schema1Layer is a layer, and what its history entry says.
type Schema1Layer struct {
	Digest digest.Digest
	Empty  bool // it changes no file, and is not a layer of the image
}

// Manifest returns the image as far as it is known before its conversion: layers of unknown sizes, lowest first,
// without those that are empty, and no config.
func (s *Schema1) Manifest() *Manifest {
	m := &Manifest{}
	for _, l := range s.Layers {
		if !l.Empty {
			m.Layers = append(m.Layers, Descriptor{Digest: l.Digest, Size: -1})
		}
	}
	return m
}

// documentV1 has the fields of schema 1, and those that must not be there.
type documentV1 struct {
	document
	FSLayers []struct {
		BlobSum string `json:"blobSum"`
	} `json:"fsLayers"`
	History []struct {
		V1Compatibility string `json:"v1Compatibility"`
	} `json:"history"`
}

// compatibility is what is read of a history entry.
type compatibility struct {
	ID        string `json:"id"`
	Parent    string `json:"parent"`
	ThrowAway bool   `json:"throwaway"`
}

// IsSchema1 reports whether Parse refuses the document as one of schema 1.
func IsSchema1(raw []byte) bool {
	_, err := Parse(raw)
	return errors.Is(err, ErrSchema1)
}

// ParseSchema1 reads a manifest of schema 1, without signatures, by Docker's rules: as many history entries as
// layers, each with the ID of its layer and of the one below it as its parent, no ID twice but one after the other,
// and the lowest without a parent.
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

// check checks everything but the chain of IDs.
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

// layers checks the chain of IDs, which is listed newest first, and returns the layers.
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
