package cacheinfo

import (
	"encoding/json"
	"time"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/manifest"
)

// Config holds the commonly used fields of an image config.
type Config struct {
	manifest.Platform
	Created moment          `json:"created"`
	Author  string          `json:"author"`
	Run     Run             `json:"config"`
	RootFS  RootFS          `json:"rootfs"`
	History []Step          `json:"history"`
	Raw     json.RawMessage `json:"-"` // the whole config
}

// Run says how to run a container of the image.
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

// RootFS lists the layers by their diff IDs.
type RootFS struct {
	DiffIDs []digest.Digest `json:"diff_ids"`
}

// Step is a step of the image's build history.
type Step struct {
	CreatedBy string `json:"created_by"`
	Empty     bool   `json:"empty_layer"` // made no layer
}

// moment is a time. It is zero if the config has an invalid one.
type moment struct{ time.Time }

// UnmarshalJSON implements json.Unmarshaler.
func (m *moment) UnmarshalJSON(raw []byte) error {
	if m.Time.UnmarshalJSON(raw) != nil {
		m.Time = time.Time{}
	}
	return nil
}

// readConfig reads and verifies the config of an image. Fields it cannot parse are left empty, since they do not make an
// image invalid.
func readConfig(pub *cache.Published, d manifest.Descriptor) (*Config, error) {
	raw, err := pub.Config(d)
	if err != nil {
		return nil, err
	}
	c := &Config{Raw: raw}
	_ = manifest.Unmarshal(raw, c)
	return c, nil
}
