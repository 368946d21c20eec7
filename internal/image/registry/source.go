// Package registry reads images out of registries and their mirrors, and writes them to registries.
//
// All requests of the library go through a transport of this package (http.go), from the first one on; how that is
// done without the library's help is in the package internals. Where mirrors are asked, and what they said, is in
// mirrors.go; credentials are in credentials.go, signatures in signatures.go, what is sent to a registry in push.go,
// and which errors may pass in errors.go.
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
	Pinned  digest.Digest // digest of the manifest or index; empty: whatever the name's tag points to
	Mirrors *Mirrors      // nil: each Open begins with the first location, and locations passed over are not logged
}

// Source is an open image in a registry, and in the mirrors that registries.conf names for it. Each request goes to
// one location after the other, until one has what is wanted. Its methods may be called at the same time; Close
// comes last.
type Source struct {
	locations []*location // in the order in which they are asked
	mirrors   *Mirrors
	pinned    digest.Digest
	raw       []byte // what is pinned
	origin    string // the repository that it was read from
}

// newSource returns a source from which nothing was read, and the configuration of its locations.
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
	if err == nil && img.Pinned == "" { // from now on it is
		err = s.pin(sys, img)
	}
	if err != nil {
		return nil, reword(errors.Join(err, s.Close()))
	}
	return s, nil
}

func (s *Source) open(ctx context.Context) error {
	return s.ask(ctx, aManifest, "", func(ctx context.Context, l *location, r *reader) error {
		raw, err := r.Manifest(ctx)
		if err != nil {
			return err
		}
		s.raw, s.origin = raw, l.name()
		return nil
	})
}

// pin turns a source that was opened by a tag into one of the manifest that the tag pointed to, which other
// locations are read by its digest.
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
			l.fix(s.pinned)
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

// Manifest implements Source. It was read when the source was opened.
func (s *Source) Manifest(context.Context) ([]byte, error) { return s.raw, nil }

// Instance implements Source.
func (s *Source) Instance(ctx context.Context, d digest.Digest) (raw []byte, err error) {
	err = s.ask(ctx, aManifest, d, func(ctx context.Context, _ *location, r *reader) (err error) {
		raw, err = r.Instance(ctx, d)
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

// Publishable is the manifest as served.
func (s *Source) Publishable(_ context.Context, raw []byte) ([]byte, error) { return raw, nil }

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

// broke records that the body of a blob ended before its end. A location that has sent some of it is asked for the
// rest once.
func (s *Source) broke(d digest.Digest, l *location, err error, moved bool) error {
	at, n := slices.Index(s.locations, l), len(s.locations)
	next := s.mirrors.broke(turnOf(Blob, d), at, n, moved, attempt{l.name(), err})
	if next < 0 {
		return err
	}
	return &retry.NextError{Err: err, Next: s.locations[next].name()}
}

// systemContext is the configuration the library cannot find by itself: what its users, skopeo and
// podman, take from the environment and from their options.
func systemContext(a request.Access) *types.SystemContext {
	sys := &types.SystemContext{
		AuthFilePath:             cmp.Or(a.AuthFile, namedAuthFile()),
		DockerCertPath:           a.CertDir,
		SystemRegistriesConfPath: os.Getenv("CONTAINERS_REGISTRIES_CONF"),
		DockerRegistryUserAgent:  userAgent,
	}
	if !a.TLSVerify { // left undefined otherwise, so that registries.conf can say insecure
		sys.DockerInsecureSkipTLSVerify = types.OptionalBoolTrue
	}
	return sys
}

// namedAuthFile is the rule of podman and skopeo: REGISTRY_AUTH_FILE, then DOCKER_CONFIG, else "", for the
// library's own places.
func namedAuthFile() string {
	if f := os.Getenv("REGISTRY_AUTH_FILE"); f != "" {
		return f
	}
	if d := os.Getenv("DOCKER_CONFIG"); d != "" {
		return filepath.Join(d, "config.json")
	}
	return ""
}

// exact is the name with the digest, which decides, not the tag; without a digest the name with its
// tag, "latest" if it has none.
func exact(named reference.Named, pinned digest.Digest) (reference.Named, error) {
	if pinned == "" {
		return reference.TagNameOnly(named), nil
	}
	return reference.WithDigest(reference.TrimNamed(named), pinned)
}

// usualPort drops ":443", so that host:443/name is host/name to everything that is configured for
// host, unless something is configured for host:443 itself.
func usualPort(sys *types.SystemContext, named reference.Named) reference.Named {
	host := reference.Domain(named)
	bare, found := strings.CutSuffix(host, ":443")
	if !found || sys.DockerInsecureSkipTLSVerify == types.OptionalBoolTrue {
		return named
	}
	if l, err := findLogin(sys, host); err == nil && l.from != "" {
		return named
	}
	// A prefix without the port matches too, to a location that the port then spoils.
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

// certDirs are where the library looks for certificates, a directory for each host.
func certDirs() []string {
	return []string{filepath.Join(homedir.Get(), ".config/containers/certs.d"), "/etc/containers/certs.d", "/etc/docker/certs.d"}
}
