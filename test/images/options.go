package images

import (
	"maps"
	"time"
)

// Option says what an image is made of.
type Option func(*spec)

type spec struct {
	family            family
	os, arch, variant string
	layers            []source
	seed              uint64
	created           time.Time
	artifact          string
	noConfig          bool
	config            map[string]any
	configBytes       []byte
	annotations       map[string]string
	edits             []func(map[string]any)
}

// source is a layer that is not made yet.
type source struct {
	made    *LayerInfo // when it is
	size    int64
	files   []File
	how     Compression
	foreign string
}

// Docker makes a docker image (schema 2) or list; without it they are OCI.
func Docker() Option { return func(s *spec) { s.family = docker } }

// Arch sets the architecture; amd64 without it.
func Arch(arch string) Option { return func(s *spec) { s.arch = arch } }

// Variant sets the variant of the architecture, such as v8.
func Variant(v string) Option { return func(s *spec) { s.variant = v } }

// OS sets the operating system; linux without it.
func OS(os string) Option { return func(s *spec) { s.os = os } }

// Seed makes the contents of layers different from those of other seeds.
func Seed(n uint64) Option { return func(s *spec) { s.seed = n } }

// Layer adds a layer compressed with gzip: one file of size bytes that do not
// compress, so the blob is little larger.
func Layer(size int64) Option { return LayerAs(Gzip, size) }

// LayerAs adds a layer of a chosen compression; see Layer.
func LayerAs(c Compression, size int64) Option {
	return func(s *spec) { s.layers = append(s.layers, source{size: size, how: c}) }
}

// Layers adds n different layers of size bytes each.
func Layers(n int, size int64) Option {
	return func(s *spec) {
		for range n {
			s.layers = append(s.layers, source{size: size, how: Gzip})
		}
	}
}

// Files adds a layer, compressed with gzip, that holds these files.
func Files(files ...File) Option {
	return func(s *spec) { s.layers = append(s.layers, source{files: files, how: Gzip}) }
}

// Use adds layers that exist, so that two images share them or one has the same
// layer more than once.
func Use(layers ...LayerInfo) Option {
	return func(s *spec) {
		for _, l := range layers {
			s.layers = append(s.layers, source{made: &l})
		}
	}
}

// Foreign adds a layer that is not in the registry but at a URL.
func Foreign(size int64, url string) Option {
	return func(s *spec) {
		s.layers = append(s.layers, source{size: size, how: Gzip, foreign: url})
	}
}

// Artifact makes a manifest of this artifact type whose config is the empty one,
// as oras attaches them: it is no image.
func Artifact(kind string) Option { return func(s *spec) { s.artifact = kind } }

// NoConfig makes a manifest without a config descriptor.
func NoConfig() Option { return func(s *spec) { s.noConfig = true } }

// ConfigBytes replaces the config; it need not even be JSON.
func ConfigBytes(b []byte) Option { return func(s *spec) { s.configBytes = b } }

// Config sets fields of the config's "config" object, such as Cmd and Env.
func Config(fields map[string]any) Option {
	return func(s *spec) { s.config = maps.Clone(fields) }
}

// Created sets when the config says that the image was made.
func Created(at time.Time) Option { return func(s *spec) { s.created = at } }

// Annotation adds an annotation to the manifest.
func Annotation(key, value string) Option {
	return func(s *spec) { s.annotations[key] = value }
}

// Edit changes the finished manifest, as encoding/json sees it, before its digest
// is taken: this is how images lie. In New and NewList alike.
func Edit(edit func(manifest map[string]any)) Option {
	return func(s *spec) { s.edits = append(s.edits, edit) }
}

// MediaType replaces the manifest's mediaType field, or drops it when it is "".
// The Content-Type it is pushed and served with stays the true one.
func MediaType(mt string) Option {
	return Edit(func(m map[string]any) {
		if mt == "" {
			delete(m, "mediaType")
		} else {
			m["mediaType"] = mt
		}
	})
}

// LayerSize gives a wrong size for the nth layer, counted from 0.
func LayerSize(n int, size int64) Option {
	return Edit(func(m map[string]any) {
		m["layers"].([]any)[n].(map[string]any)["size"] = size
	})
}
