package verify

import (
	"bytes"
	"testing"

	"osbuild-containers/internal/cacheinfo"
	"osbuild-containers/test/caches"
	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

var base, top, other = caches.Base, caches.Top, caches.Other

// store is a cache filled by a test.
type store struct{ *caches.Store }

func newStore(t *testing.T) *store {
	t.Helper()
	return &store{caches.New(t)}
}

func (s *store) scan() []*cacheinfo.Image {
	s.T.Helper()
	all, err := cacheinfo.Scan(s.Cache)
	s.Must(err)
	return all
}

// servedStore is a store whose images are also in a registry.
type servedStore struct {
	*store
	f    *registry.Faults
	name string
	log  bytes.Buffer
}

func newServedStore(t *testing.T, entries ...images.Entry) *servedStore {
	t.Helper()
	r := caches.WithRegistry(t, entries...)
	return &servedStore{store: &store{r.Store}, f: r.Faults, name: r.Name}
}
