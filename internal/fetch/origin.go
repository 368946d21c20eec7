package fetch

import (
	"context"
	"errors"
	"strings"

	"github.com/distribution/reference"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/request"
)

// origin returns where the image is read from now.
func (s *session) origin() cache.Origin {
	o := originOf(s.it.Item)
	o.Fetched = s.it.began
	if from := s.source().Origin(); o.Transport == "" && !isFrom(o.Name, from) {
		o.From = from
	}
	return o
}

// originOf returns where an item is fetched from, before mirrors.
func originOf(it request.Item) cache.Origin {
	o := cache.Origin{Name: fullName(it.Image.Name), Digest: targetOf(it).Pinned, Pinned: it.Image.Pinned}
	if it.Image.Transport != request.Docker {
		o.Transport, o.Storage = it.Image.Transport, it.Image.StorageLocation
	}
	return o
}

// fullName returns the name with its default registry filled in.
func fullName(name string) string {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return name
	}
	return named.String()
}

// isFrom reports whether the repository is that of the name. Port 443 equals no port.
func isFrom(name, repository string) bool {
	named, err := reference.ParseNormalizedNamed(name)
	return err == nil && strings.Replace(named.Name(), ":443/", "/", 1) == strings.Replace(repository, ":443/", "/", 1)
}

// RecordNames records, for each cached image, the names under which it was requested. An image that was cached earlier
// may have been fetched under another name.
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
