package image

import (
	"context"
	"errors"
	"net/http"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/request"
)

// Head asks under which digest the target is served, the pinned one or the one its tag points to,
// and from where: the first of its locations that has it. The digest is what the registry says;
// nothing is read, and registries that count downloads do not count it.
func Head(ctx context.Context, t Target) (d digest.Digest, from string, err error) {
	if t.Transport == request.ContainersStorage {
		return headByReading(ctx, t)
	}
	s, _, err := newDockerSource(t)
	if err != nil {
		return "", "", err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	read := false
	err = s.ask(ctx, aManifest, "", func(ctx context.Context, l *location, r *reader) (err error) {
		from = l.name()
		d, err = head(ctx, r.src)
		if errors.Is(err, digest.ErrDigestInvalidFormat) || statusOf(err) == http.StatusMethodNotAllowed {
			read = true // it does not answer HEAD as it should
			return nil
		}
		return err
	})
	if read {
		return headByReading(ctx, t)
	}
	return d, from, reword(err)
}

// headByReading opens the target and reads its manifest.
func headByReading(ctx context.Context, t Target) (d digest.Digest, from string, err error) {
	src, err := Open(ctx, t)
	if err != nil {
		return "", "", err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	raw, err := src.Manifest(ctx)
	return digest.FromBytes(raw), src.Origin(), err
}

// IsNotFound says that the other side has answered, and does not have what was asked for.
func IsNotFound(err error) bool {
	return errors.Is(err, ErrNotStored) || statusOf(err) == http.StatusNotFound
}
