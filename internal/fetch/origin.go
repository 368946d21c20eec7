package fetch

import (
	"context"
	"errors"
	"strings"

	"github.com/distribution/reference"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/request"
)

// origin is where the image came from, by now.
func (s *session) origin() cache.Origin {
	o := originOf(s.it.Item)
	o.Fetched = s.it.began
	if from := s.source().Origin(); o.Transport == "" && !isFrom(o.Name, from) {
		o.From = from
	}
	return o
}

// originOf is where an item is to be fetched from.
func originOf(it request.Item) cache.Origin {
	o := cache.Origin{Name: fullName(it.Image.Name), Digest: targetOf(it).Pinned, Pinned: it.Image.Pinned}
	if it.Image.Transport != request.Docker {
		o.Transport, o.Storage = it.Image.Transport, it.Image.StorageLocation
	}
	return o
}

// fullName is the name with the registry that is meant where none is written.
func fullName(name string) string {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return name
	}
	return named.String()
}

// isFrom reports whether the repository is the one of the name; the port 443 is the usual one.
func isFrom(name, repository string) bool {
	named, err := reference.ParseNormalizedNamed(name)
	return err == nil && strings.Replace(named.Name(), ":443/", "/", 1) == strings.Replace(repository, ":443/", "/", 1)
}

// RecordNames records, next to each of the images that are in the cache now, the names under which they were
// requested. Fetched images have their name already; others were cached before, under this name or another.
func RecordNames(ctx context.Context, dir string, items []request.Item) error {
	c := cache.Open(dir)
	var errs []error
	for _, it := range items {
		pub, err := c.OpenImage(it.ID)
		if err != nil {
			continue
		}
		pub.Close()
		errs = append(errs, c.AddOrigin(ctx, it.ID, originOf(it)))
	}
	return errors.Join(errs...)
}
