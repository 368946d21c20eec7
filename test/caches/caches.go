// Package caches fills caches for tests, with images published as by a fetch and as by osbuild's own source.
//
//	s := caches.New(t)
//	s.Publish(caches.Base, 1, "example.com/base:1") // fetched on the first of June
//	s.Foreign(caches.Other, 2)
package caches

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/image/schema1"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

// Three images: Top contains the layer of Base, Other shares nothing with them.
var (
	Base  = images.New(images.Layer(1000))
	Top   = images.New(images.Use(Base.Layers[0]), images.Layer(2000))
	Other = images.New(images.Arch("arm"), images.Variant("v7"), images.Layer(500))
)

// Day returns noon of a day of June.
func Day(n int) time.Time { return time.Date(2026, 6, n, 12, 0, 0, 0, time.UTC) }

// Store is a cache with its pool open.
type Store struct {
	T     *testing.T
	Dir   string
	Cache *cache.Cache
	Pool  *cache.Pool
}

// New makes an empty cache in a directory of the test.
func New(t *testing.T) *Store {
	t.Helper()
	s := &Store{T: t}
	s.Open(t.TempDir())
	t.Cleanup(func() { s.Pool.Close() })
	return s
}

// Open opens the cache at dir and its pool, replacing the current one, whose pool must have been closed.
func (s *Store) Open(dir string) {
	s.T.Helper()
	s.Dir, s.Cache = dir, cache.Open(dir)
	var err error
	s.Pool, err = s.Cache.OpenPool(context.Background())
	s.Must(err)
}

// Must ends the test on an error.
func (s *Store) Must(err error) {
	s.T.Helper()
	if err != nil {
		s.T.Fatal(err)
	}
}

// Put adds a blob to the pool.
func (s *Store) Put(d digest.Digest, blob []byte) {
	s.T.Helper()
	w, err := s.Pool.Acquire(s.T.Context(), d, int64(len(blob)), nil)
	if errors.Is(err, cache.ErrExists) {
		return
	}
	s.Must(err)
	defer w.Close()
	_, err = w.ReadFrom(struct{ *bytes.Reader }{bytes.NewReader(blob)})
	s.Must(err)
	s.Must(w.Commit())
}

// Publish publishes an image, fetched on a day of June under each of the names.
func (s *Store) Publish(img *images.Image, day int, names ...string) {
	s.T.Helper()
	m, err := manifest.Parse(img.Raw)
	s.Must(err)
	s.Put(img.ID, img.Config)
	for _, l := range img.Layers {
		s.Put(l.Digest, l.Blob)
	}
	pub := &cache.Image{Manifest: img.Raw, Blobs: m.Blobs()}
	for _, n := range names {
		pub.Origins = append(pub.Origins, cache.Origin{Name: n, Digest: img.Digest, Fetched: Day(day)})
	}
	s.Must(s.Cache.Publish(s.T.Context(), s.Pool, img.ID, pub))
}

// Schema1 publishes a converted schema 1 image, as a fetch does. See Publish.
func (s *Store) Schema1(img *images.Image, day int, names ...string) {
	s.T.Helper()
	old, err := schema1.Parse(img.Raw)
	s.Must(err)
	layers := map[digest.Digest]schema1.Layer{}
	for _, l := range img.Layers {
		layers[l.Digest] = schema1.Layer{DiffID: l.DiffID, Size: l.Size}
		s.Put(l.Digest, l.Blob)
	}
	now, err := old.Convert(layers)
	s.Must(err)
	s.Put(now.ID, now.Config)
	pub := &cache.Image{Manifest: now.Manifest, Blobs: now.Parsed.Blobs(), Schema1: &cache.Schema1{Manifest: img.Raw}}
	for _, n := range names {
		pub.Origins = append(pub.Origins, cache.Origin{Name: n, Digest: img.Digest, Fetched: Day(day)})
	}
	s.Must(s.Cache.Publish(s.T.Context(), s.Pool, img.ID, pub))
}

// Foreign publishes an image as osbuild's own source does: without pool, record or sharing.
func (s *Store) Foreign(img *images.Image, day int) {
	s.T.Helper()
	dir := s.Cache.ImagePath(img.ID)
	s.Must(os.MkdirAll(dir, 0o755))
	files := map[string][]byte{"version": []byte("Directory Transport Version: 1.1\n"), "manifest.json": img.Raw, img.ID.Encoded(): img.Config}
	for _, l := range img.Layers {
		files[l.Digest.Encoded()] = l.Blob
	}
	for name, content := range files {
		s.Must(os.WriteFile(filepath.Join(dir, name), content, 0o644))
		s.Must(os.Chtimes(filepath.Join(dir, name), Day(day), Day(day)))
	}
}

// Blob returns the path of a blob of a published image.
func (s *Store) Blob(img *images.Image, d digest.Digest) string {
	return filepath.Join(s.Cache.ImagePath(img.ID), d.Encoded())
}

// Write writes a file.
func (s *Store) Write(path, text string) {
	s.T.Helper()
	s.Must(os.WriteFile(path, []byte(text), 0o644))
}

// Registry is a cache with a registry that serves its images.
type Registry struct {
	*Store
	Faults *registry.Faults
	Name   string // of the repository
}

// WithRegistry makes an empty cache and starts a registry with images, isolated from the machine's configuration.
func WithRegistry(t *testing.T, entries ...images.Entry) *Registry {
	t.Helper()
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("CONTAINERS_REGISTRIES_CONF", filepath.Join(home, "registries.conf"))
	reg := registry.Start(t)
	for _, e := range entries {
		if err := images.Push(e, reg.URL, "a/name"); err != nil {
			t.Fatal(err)
		}
	}
	r := &Registry{Store: New(t), Faults: reg.Faults(t)}
	r.Name = r.Faults.Addr + "/a/name"
	r.Write(filepath.Join(home, "registries.conf"), "")
	return r
}
