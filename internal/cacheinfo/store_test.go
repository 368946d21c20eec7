package cacheinfo

import (
	"testing"

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

func (s *store) scan() []*Image {
	s.T.Helper()
	all, err := Scan(s.Cache)
	s.Must(err)
	return all
}

// get returns the image of a scan.
func (s *store) get(img *images.Image) *Image {
	s.T.Helper()
	for _, i := range s.scan() {
		if i.ID == img.ID {
			return i
		}
	}
	s.T.Fatalf("image %s is not found", img.ID)
	return nil
}
