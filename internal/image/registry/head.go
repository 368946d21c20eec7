package registry

import (
	"context"
	"errors"
	"net/http"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/image/schema1"
)

// Head returns the digest under which the image is served and the first location that has it. It trusts the registry's
// header and reads nothing, so registries that limit downloads do not count it.
func Head(ctx context.Context, img Image) (d digest.Digest, from string, err error) {
	s, _, err := newSource(img)
	if err != nil {
		return "", "", err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	read := false
	err = s.ask(ctx, manifestPart, "", func(ctx context.Context, l *location, r *reader) (err error) {
		from = l.name()
		d, err = head(ctx, r.src)
		if errors.Is(err, digest.ErrDigestInvalidFormat) || statusOf(err) == http.StatusMethodNotAllowed {
			read = true // it does not answer HEAD properly
			return nil
		}
		return err
	})
	if read {
		return headByReading(ctx, img)
	}
	return d, from, reword(err)
}

// headByReading opens the image and reads its manifest.
func headByReading(ctx context.Context, img Image) (d digest.Digest, from string, err error) {
	src, err := Open(ctx, img)
	if err != nil {
		return "", "", err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	raw, err := src.Manifest(ctx, "")
	if err == nil {
		d, err = schema1.Digest(raw)
	}
	return d, src.Origin(), err
}

// IsNotFound reports whether the registry answered that it does not have the requested object.
func IsNotFound(err error) bool {
	return statusOf(err) == http.StatusNotFound
}
