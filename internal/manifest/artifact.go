package manifest

import (
	"encoding/json"
	"errors"
)

// ParseAny is Parse that also reads artifacts that have the form of an image, such as the
// attestations that a list may name: to copy such a document its parts have to be known, and nothing
// else.
func ParseAny(raw []byte) (*Manifest, error) {
	m, err := Parse(raw)
	if !errors.Is(err, ErrArtifact) {
		return m, err
	}
	var d document
	if json.Unmarshal(raw, &d) != nil || d.Config == nil || d.Layers == nil || d.Manifests != nil {
		return nil, err
	}
	if e := d.Config.check(); e != nil {
		return nil, err
	}
	total := d.Config.Size
	for _, l := range d.Layers {
		if e := l.check(); e != nil {
			return nil, err
		}
		if total += l.Size; total > MaxBlob {
			return nil, err
		}
	}
	return &Manifest{Config: *d.Config, Layers: d.Layers}, nil
}
