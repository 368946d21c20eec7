package gc

import (
	"testing"

	"osbuild-containers/internal/cacheinfo"
	"osbuild-containers/internal/verify"
	"osbuild-containers/test/caches"
	"osbuild-containers/test/images"
)

var (
	base, top, other = caches.Base, caches.Top, caches.Other
	day              = caches.Day
)

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
	name string
}

func newServedStore(t *testing.T, entries ...images.Entry) *servedStore {
	t.Helper()
	r := caches.WithRegistry(t, entries...)
	return &servedStore{store: &store{r.Store}, name: r.Name}
}

// verify verifies the whole cache.
func (s *store) verify() *verify.Verified {
	s.T.Helper()
	v, err := verify.Verify(s.T.Context(), s.Cache, s.scan(), true, nil)
	s.Must(err)
	return v
}
