package image

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/containers/image/v5/docker"
	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/pkg/blobinfocache/none"
	"github.com/containers/image/v5/pkg/docker/config"
	"github.com/containers/image/v5/pkg/sysregistriesv2"
	"github.com/containers/image/v5/types"
	"github.com/containers/storage/pkg/homedir"
	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/request"
)

// dockerSource is an image in a registry.
type dockerSource struct {
	reader
	origin string
	hooked bool
}

// Origin implements Source.
func (s *dockerSource) Origin() string { return s.origin }

func openDocker(ctx context.Context, t Target) (Source, error) {
	sys := systemContext(t.Access)
	named, err := reference.ParseNormalizedNamed(t.Name)
	if err != nil {
		return nil, fmt.Errorf("image name %q: %w", t.Name, err)
	}
	if named, err = exact(usualPort(sys, named), t.Pinned); err != nil {
		return nil, fmt.Errorf("image name %q: %w", t.Name, err)
	}
	ref, err := docker.NewReference(named)
	if err != nil {
		return nil, fmt.Errorf("image name %q: %w", t.Name, err)
	}
	guarded, done := guard(ctx)
	src, err := ref.NewImageSource(guarded, sys)
	if err := done(err); err != nil {
		return nil, err
	}
	s := &dockerSource{reader: reader{src: src, pinned: t.Pinned}, origin: physicalOf(src, named)}
	if t.Pinned == "" {
		raw, _, err := src.GetManifest(ctx, nil) // the source has it already, and keeps it
		if err != nil {
			return nil, errors.Join(err, src.Close())
		}
		s.pinned = digest.FromBytes(raw)
	}
	if client := clientOf(src); client != nil {
		hook(client)
		s.hooked = true
	}
	return s, nil
}

// systemContext is the configuration the library cannot find by itself: what its users, skopeo and
// podman, take from the environment and from their options.
func systemContext(a request.Access) *types.SystemContext {
	sys := &types.SystemContext{
		AuthFilePath:             cmp.Or(a.AuthFile, authFile()),
		DockerCertPath:           a.CertDir,
		SystemRegistriesConfPath: os.Getenv("CONTAINERS_REGISTRIES_CONF"),
		DockerRegistryUserAgent:  "osbuild-containers",
	}
	if !a.TLSVerify { // left undefined otherwise, so that registries.conf can say insecure
		sys.DockerInsecureSkipTLSVerify = types.OptionalBoolTrue
	}
	return sys
}

// authFile is the rule of podman and skopeo: REGISTRY_AUTH_FILE, then DOCKER_CONFIG, else the
// library's own places.
func authFile() string {
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
	if auth, err := config.GetCredentials(sys, host); err == nil && auth != (types.DockerAuthConfig{}) {
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

// certDirs are where the library looks for certificates, a folder for each host.
func certDirs() []string {
	return []string{filepath.Join(homedir.Get(), ".config/containers/certs.d"), "/etc/containers/certs.d", "/etc/docker/certs.d"}
}

// clientOf is the http.Client inside a registry source or destination, nil if this version of the
// library has it elsewhere; downloads then work, but cannot go on in the middle.
func clientOf(src any) *http.Client {
	v := reflect.ValueOf(src)
	for _, field := range []string{"c", "client"} {
		if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
			return nil
		}
		v = v.Elem().FieldByName(field)
	}
	if !v.IsValid() || v.Type() != reflect.TypeFor[*http.Client]() {
		return nil
	}
	return (*http.Client)(v.UnsafePointer())
}

// physicalOf is the repository that a registry source reads from, a mirror's where that is so; meant
// if this version of the library has it elsewhere.
func physicalOf(src types.ImageSource, meant reference.Named) string {
	v := reflect.ValueOf(src)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return meant.Name()
	}
	if v = v.Elem().FieldByName("physicalRef"); v.Kind() == reflect.Struct {
		if v = v.FieldByName("ref"); v.IsValid() && v.Type() == reflect.TypeFor[reference.Named]() && !v.IsNil() {
			return (*(*reference.Named)(v.Addr().UnsafePointer())).Name()
		}
	}
	return meant.Name()
}

// Publishable is the manifest as served.
func (s *dockerSource) Publishable(_ context.Context, raw []byte) ([]byte, error) { return raw, nil }

func (s *dockerSource) Blob(ctx context.Context, d manifest.Descriptor, offset int64) (io.ReadCloser, int64, error) {
	sp := &span{digest: d.Digest, size: d.Size, urls: d.URLs, want: offset}
	if s.hooked {
		ctx = context.WithValue(ctx, spanKey{}, sp)
	}
	info := types.BlobInfo{Digest: d.Digest, Size: d.Size, MediaType: d.MediaType, URLs: d.URLs}
	r, _, err := s.src.GetBlob(ctx, info, none.NoCache)
	if err != nil {
		return nil, 0, err
	}
	return r, sp.start, nil
}
