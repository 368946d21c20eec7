package cacheinfo

import (
	"encoding/json"
	"time"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/manifest"
)

// Config holds the fields of an image config that people ask for.
type Config struct {
	manifest.Platform
	Created moment          `json:"created"`
	Author  string          `json:"author"`
	Run     Run             `json:"config"`
	RootFS  RootFS          `json:"rootfs"`
	History []Step          `json:"history"`
	Raw     json.RawMessage `json:"-"` // all of it
}

// Run is how a container of the image is run.
type Run struct {
	User         string              `json:"User"`
	ExposedPorts map[string]struct{} `json:"ExposedPorts"`
	Env          []string            `json:"Env"`
	Entrypoint   []string            `json:"Entrypoint"`
	Cmd          []string            `json:"Cmd"`
	Volumes      map[string]struct{} `json:"Volumes"`
	WorkingDir   string              `json:"WorkingDir"`
	Labels       map[string]string   `json:"Labels"`
	StopSignal   string              `json:"StopSignal"`
}

// RootFS names the layers by the digests of their content, uncompressed.
type RootFS struct {
	DiffIDs []digest.Digest `json:"diff_ids"`
}

// Step is one step of how the image was built.
type Step struct {
	CreatedBy string `json:"created_by"`
	Empty     bool   `json:"empty_layer"` // it made no layer
}

// moment is a time, zero if the config has something else: its content is not checked.
type moment struct{ time.Time }

// UnmarshalJSON implements json.Unmarshaler.
func (m *moment) UnmarshalJSON(raw []byte) error {
	if m.Time.UnmarshalJSON(raw) != nil {
		m.Time = time.Time{}
	}
	return nil
}

// readConfig reads the config of an image, verified. What it says that cannot be understood is left
// out: images are not judged by it.
func readConfig(pub *cache.Published, d manifest.Descriptor) (*Config, error) {
	raw, err := pub.Config(d)
	if err != nil {
		return nil, err
	}
	c := &Config{Raw: raw}
	_ = manifest.Unmarshal(raw, c)
	return c, nil
}
