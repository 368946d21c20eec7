package ociarchive

import (
	"encoding/json"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"osbuild-containers/internal/request"
)

// Defaults for the container's command and environment.
var (
	defaultCmd = []string{"sh"}
	defaultEnv = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
)

// options are the stage's options, as described in its schema.
type options struct {
	Architecture string            `json:"architecture"`
	Variant      string            `json:"variant"`
	Filename     string            `json:"filename"`
	Config       config            `json:"config"`
	Annotations  map[string]string `json:"annotations"`
	Compression  string            `json:"compression"`
	Level        int               `json:"level"`
}

// config is the image configuration in the stage's options.
type config struct {
	Cmd          []string
	Env          []string
	Entrypoint   []string
	User         string
	Labels       map[string]label
	StopSignal   string
	StopSiganl   string // sic: osbuild's schema has this name, its stage reads the other
	WorkingDir   string
	ExposedPorts []string
	Volumes      []string
}

// image converts the configuration to the OCI type.
func (c config) image() (v1.ImageConfig, error) {
	if c.StopSiganl != "" && c.StopSignal != "" && c.StopSiganl != c.StopSignal {
		return v1.ImageConfig{}, request.Refuse("options.config.StopSiganl", "must be what StopSignal is; one of the two is enough")
	}
	img := v1.ImageConfig{
		Cmd: c.Cmd, Env: c.Env, Entrypoint: c.Entrypoint, User: c.User, WorkingDir: c.WorkingDir,
		StopSignal: c.StopSignal, ExposedPorts: set(c.ExposedPorts), Volumes: set(c.Volumes),
	}
	if c.Cmd == nil {
		img.Cmd = defaultCmd
	}
	if c.Env == nil {
		img.Env = defaultEnv
	}
	if c.StopSignal == "" {
		img.StopSignal = c.StopSiganl
	}
	for k, v := range c.Labels {
		if img.Labels == nil {
			img.Labels = map[string]string{}
		}
		img.Labels[k] = string(v)
	}
	return img, nil
}

func set(names []string) map[string]struct{} {
	if len(names) == 0 {
		return nil
	}
	m := make(map[string]struct{}, len(names))
	for _, n := range names {
		m[n] = struct{}{}
	}
	return m
}

// label is the value of a label. The schema accepts any JSON value, but no tool reads an image with labels that are
// not strings, so other values become their JSON text.
type label string

// UnmarshalJSON implements json.Unmarshaler.
func (l *label) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil || string(b) == "null" {
		s = string(b)
	}
	*l = label(s)
	return nil
}
