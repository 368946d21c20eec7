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
	name string
}

func newShop(t *testing.T, entries ...images.Entry) *shop {
	t.Helper()
	r := caches.WithRegistry(t, entries...)
	return &shop{store: &store{r.Store}, name: r.Name}
}

// verify verifies the whole cache.
func (s *store) verify() *verify.Verified {
	s.T.Helper()
	v, err := verify.Verify(s.T.Context(), s.Cache, s.scan(), true, nil)
	s.Must(err)
	return v
}
