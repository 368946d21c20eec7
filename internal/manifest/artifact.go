package manifest

import (
	"encoding/json"
	"errors"
)

// ParseAny is Parse, but also accepts artifacts in the form of an image, such as attestations in a list: copying them only
// needs their parts.
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
