// Package registry reads images from registries and their mirrors, and pushes images to registries.
//
// All requests of the library pass through a RoundTripper of this package (http.go), which package internals installs.
// The order of mirrors and their errors are in mirrors.go, credentials in credentials.go, signatures in signatures.go,
// pushes in push.go, and the classification of errors in errors.go.
package registry

import (
	"cmp"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/pkg/blobinfocache/none"
	"github.com/containers/image/v5/pkg/sysregistriesv2"
	"github.com/containers/image/v5/types"
	"github.com/containers/storage/pkg/homedir"
	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/image/schema1"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/request"
	"osbuild-containers/internal/retry"
)

// Image is one image, or one index, in a registry.
type Image struct {
	Name    string
	Access  request.Access
	Pinned  digest.Digest // digest of the manifest or index; empty: what the name's tag points to
	Mirrors *Mirrors      // nil: each Open starts at the first location and does not log failed ones
}

// Source is an open image in a registry and its mirrors in registries.conf. Each request tries one location after the
// other until one succeeds. Its methods are safe for concurrent use, except that Close must come last.
type Source struct {
	locations []*location // in the order to try
	mirrors   *Mirrors
	pinned    digest.Digest
	raw       []byte // the pinned manifest or index
	origin    string // repository it was read from
}

// newSource returns a source that has read nothing yet, and the configuration for its locations.
func newSource(img Image) (*Source, *types.SystemContext, error) {
	sys, places, err := locations(img)
	if err != nil {
		return nil, nil, err
	}
	s := &Source{mirrors: img.Mirrors, pinned: img.Pinned}
	if s.mirrors == nil {
		s.mirrors = &Mirrors{}
	}
	s.locations, err = newLocations(sys, img, places)
	return s, sys, err
}

// Open reads the manifest from the first location that has it.
func Open(ctx context.Context, img Image) (*Source, error) {
	s, sys, err := newSource(img)
	if err != nil {
		return nil, reword(err)
	}
	err = s.open(ctx)
	if err == nil && img.Pinned == "" { // now pinned
		err = s.pin(sys, img)
	}
	if err != nil {
		return nil, reword(errors.Join(err, s.Close()))
	}
	return s, nil
}

func (s *Source) open(ctx context.Context) error {
	return s.ask(ctx, manifestPart, "", func(ctx context.Context, l *location, r *reader) error {
		raw, err := r.Manifest(ctx, "")
		if err != nil {
			return err
		}
		s.raw, s.origin = raw, l.name()
		return nil
	})
}

// pin pins a source opened by tag to the manifest that the tag pointed to, so that other locations are read by digest.
func (s *Source) pin(sys *types.SystemContext, img Image) error {
	var err error
	if s.pinned, err = schema1.Digest(s.raw); err != nil {
		return err
	}
	img.Pinned = s.pinned
	_, places, err := locations(img)
	if err != nil {
		return err
	}
	places = slices.DeleteFunc(places, func(p sysregistriesv2.PullSource) bool { return p.Reference.Name() == s.origin })
	others, err := newLocations(sys, img, places)
	if err != nil {
		return err
	}
	for _, l := range s.locations {
		if l.name() == s.origin {
			l.pinTo(s.pinned)
			others = slices.Insert(others, 0, l)
		} else if err := l.close(); err != nil {
			return err
		}
	}
	s.locations = others
	return nil
}

// Origin implements Source.
func (s *Source) Origin() string { return s.origin }

// Close implements Source.
func (s *Source) Close() error {
	var errs []error
	for _, l := range s.locations {
		errs = append(errs, l.close())
	}
	return errors.Join(errs...)
}

// Manifest implements Source. The pinned manifest was read by Open.
func (s *Source) Manifest(ctx context.Context, d digest.Digest) (raw []byte, err error) {
	if d == "" {
		return s.raw, nil
	}
	err = s.ask(ctx, manifestPart, d, func(ctx context.Context, _ *location, r *reader) (err error) {
		raw, err = r.Manifest(ctx, d)
		return err
	})
	return raw, reword(err)
}

// Signatures implements Source.
func (s *Source) Signatures(ctx context.Context, d digest.Digest) (sigs [][]byte, err error) {
	err = s.ask(ctx, Signatures, d, func(ctx context.Context, _ *location, r *reader) (err error) {
		sigs, err = r.Signatures(ctx, d)
		return err
	})
	return sigs, reword(err)
}

// Blob implements Source.
func (s *Source) Blob(ctx context.Context, d manifest.Descriptor, offset int64) (body io.ReadCloser, start int64, err error) {
	err = s.ask(ctx, Blob, d.Digest, func(ctx context.Context, l *location, r *reader) error {
		sp := &span{digest: d.Digest, size: d.Size, urls: d.URLs, want: offset}
		info := types.BlobInfo{Digest: d.Digest, Size: d.Size, MediaType: d.MediaType, URLs: d.URLs}
		b, _, err := r.src.GetBlob(context.WithValue(ctx, spanKey{}, sp), info, none.NoCache)
		if err != nil {
			return err
		}
		start = sp.start
		body = &blobBody{ReadCloser: b, start: sp.start, at: sp.start, size: d.Size, broke: func(err error, moved bool) error {
			return s.broke(d.Digest, l, err, moved)
		}}
		return nil
	})
	return body, start, reword(err)
}

// Elsewhere implements Source.
func (s *Source) Elsewhere(part Part, d digest.Digest) bool {
	what, n := turnOf(part, d), len(s.locations)
	at, failed := s.mirrors.get(what, n)
	s.mirrors.pass(what, at, n, failed)
	if at+1 == n {
		return false
	}
	why := "has another digest"
	if part == Signatures {
		why = "are not enough"
	}
	s.mirrors.note("%s from %s %s; asking %s", what, s.locations[at].name(), why, s.locations[at+1].name())
	return true
}

// broke records that a blob's body ended early. A location that has sent part of it is asked for the rest once.
func (s *Source) broke(d digest.Digest, l *location, err error, moved bool) error {
	at, n := slices.Index(s.locations, l), len(s.locations)
	next := s.mirrors.broke(turnOf(Blob, d), at, n, moved, attempt{l.name(), err})
	if next < 0 {
		return err
	}
	return &retry.NextError{Err: err, Next: s.locations[next].name()}
}

// systemContext returns the configuration that the library does not find itself: what skopeo and podman take from the
// environment and their options.
func systemContext(a request.Access) *types.SystemContext {
	sys := &types.SystemContext{
		AuthFilePath:             cmp.Or(a.AuthFile, namedAuthFile()),
		DockerCertPath:           a.CertDir,
		SystemRegistriesConfPath: os.Getenv("CONTAINERS_REGISTRIES_CONF"),
		DockerRegistryUserAgent:  userAgent,
	}
	if !a.TLSVerify { // otherwise undefined, so that registries.conf decides
		sys.DockerInsecureSkipTLSVerify = types.OptionalBoolTrue
	}
	return sys
}

// namedAuthFile follows podman and skopeo: REGISTRY_AUTH_FILE, then DOCKER_CONFIG, otherwise "" for the library's
// defaults.
func namedAuthFile() string {
	if f := os.Getenv("REGISTRY_AUTH_FILE"); f != "" {
		return f
	}
	if d := os.Getenv("DOCKER_CONFIG"); d != "" {
		return filepath.Join(d, "config.json")
	}
	return ""
}

// exact returns the name with the digest and without the tag, or, without a digest, with its tag or "latest".
func exact(named reference.Named, pinned digest.Digest) (reference.Named, error) {
	if pinned == "" {
		return reference.TagNameOnly(named), nil
	}
	return reference.WithDigest(reference.TrimNamed(named), pinned)
}

// usualPort drops ":443", so that the configuration of host applies to host:443/name, unless something is configured for
// host:443 itself.
func usualPort(sys *types.SystemContext, named reference.Named) reference.Named {
	host := reference.Domain(named)
	bare, found := strings.CutSuffix(host, ":443")
	if !found || sys.DockerInsecureSkipTLSVerify == types.OptionalBoolTrue {
		return named
	}
	if l, err := findLogin(sys, host); err == nil && l.from != "" {
		return named
	}
	// A prefix without the port matches too, but its location would then keep the port.
	if reg, err := sysregistriesv2.FindRegistry(sys, named.Name()); err == nil && reg != nil && strings.HasPrefix(reg.Prefix, host) {
		return named
	}
	for _, dir := range certDirs() {
		if _, err := os.Stat(filepath.Join(dir, host)); err == nil {
			return named
		}
	}
	if short, err := reference.ParseNormalizedNamed(bare + strings.TrimPrefix(named.String(), host)); err == nil {
		return short
	}
	return named
}

// certDirs returns the directories in which the library looks for a host's certificates.
func certDirs() []string {
	return []string{filepath.Join(homedir.Get(), ".config/containers/certs.d"), "/etc/containers/certs.d", "/etc/docker/certs.d"}
}
