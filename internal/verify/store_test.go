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

// store is a cache that a test fills.
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

// shop is a store whose images a registry has.
type shop struct {
	*store
	f    *registry.Faults
	name string
	log  bytes.Buffer
}

func newShop(t *testing.T, entries ...images.Entry) *shop {
	t.Helper()
	r := caches.WithRegistry(t, entries...)
	return &shop{store: &store{r.Store}, f: r.Faults, name: r.Name}
}
