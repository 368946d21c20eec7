package manifest

import (
	"fmt"

	"github.com/opencontainers/go-digest"
)

// DiffIDs returns the diff IDs of the layers in a config, lowest first. All are sha256 digests.
func DiffIDs(config []byte) ([]digest.Digest, error) {
	var c struct {
		RootFS struct {
			DiffIDs []digest.Digest `json:"diff_ids"`
		} `json:"rootfs"`
	}
	if err := Unmarshal(config, &c); err != nil {
		return nil, fmt.Errorf("config cannot be read: %w", err)
	}
	for _, d := range c.RootFS.DiffIDs {
		if err := d.Validate(); err != nil || d.Algorithm() != digest.SHA256 {
			return nil, fmt.Errorf("diff id %q is not sha256: and 64 hexadecimal digits", d)
		}
	}
	return c.RootFS.DiffIDs, nil
}

// LayerDiffIDs returns the diff IDs in the image's config. It is an error if their number is not that of the layers.
func (m *Manifest) LayerDiffIDs(config []byte) ([]digest.Digest, error) {
	ids, err := DiffIDs(config)
	if err == nil && len(ids) != len(m.Layers) {
		err = fmt.Errorf("the config has %d diff ids and the manifest %d layers", len(ids), len(m.Layers))
	}
	return ids, err
}
