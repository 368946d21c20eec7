package image

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/containers/image/v5/docker"
	"github.com/containers/image/v5/pkg/sysregistriesv2"
	"github.com/containers/image/v5/types"
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
	sys, places, err := locations(t)
	if err != nil {
		return "", "", err
	}
	var others []string
	for _, place := range places {
		d, e := headAt(ctx, sys, place)
		if e == nil {
			return d, place.Reference.Name(), nil
		}
		if errors.Is(e, digest.ErrDigestInvalidFormat) || statusOf(e) == http.StatusMethodNotAllowed {
			return headByReading(ctx, t) // it does not answer HEAD as it should
		}
		if err != nil {
			others = append(others, err.Error())
		}
		err = fmt.Errorf("%s: %w", place.Reference.Name(), reword(e))
	}
	if others != nil {
		err = fmt.Errorf("%w (mirrors: %s)", err, strings.Join(others, "; "))
	}
	return "", "", err
}

// headAt asks one location.
func headAt(ctx context.Context, sys *types.SystemContext, place sysregistriesv2.PullSource) (digest.Digest, error) {
	if sys.DockerInsecureSkipTLSVerify == types.OptionalBoolUndefined { // as the library does for a mirror
		insecure := *sys
		insecure.DockerInsecureSkipTLSVerify = types.NewOptionalBool(place.Endpoint.Insecure)
		sys = &insecure
	}
	ref, err := docker.NewReference(place.Reference)
	if err != nil {
		return "", err
	}
	guarded, done := guard(ctx)
	d, err := docker.GetDigest(guarded, sys, ref)
	return d, done(err)
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
