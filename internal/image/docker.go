package image

import (
	"cmp"
	"context"
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

	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/request"
)

// dockerSource is an image in a registry.
type dockerSource struct {
	reader
	hooked bool
}

func openDocker(ctx context.Context, t Target) (Source, error) {
	sys := systemContext(t.Access)
	named, err := reference.ParseNormalizedNamed(t.Name)
	if err != nil {
		return nil, fmt.Errorf("image name %q: %w", t.Name, err)
	}
	named = usualPort(sys, reference.TrimNamed(named)) // the digest decides, not the tag
	pinned, err := reference.WithDigest(named, t.Pinned)
	if err != nil {
		return nil, fmt.Errorf("image name %q: %w", t.Name, err)
	}
	ref, err := docker.NewReference(pinned)
	if err != nil {
		return nil, fmt.Errorf("image name %q: %w", t.Name, err)
	}
	guarded, done := guard(ctx)
	src, err := ref.NewImageSource(guarded, sys)
	if err := done(err); err != nil {
		return nil, err
	}
	s := &dockerSource{reader: reader{src: src, pinned: t.Pinned}}
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
	if short, err := reference.WithName(bare + "/" + reference.Path(named)); err == nil {
		return short
	}
	return named
}

// certDirs are where the library looks for certificates, a folder for each host.
func certDirs() []string {
	return []string{filepath.Join(homedir.Get(), ".config/containers/certs.d"), "/etc/containers/certs.d", "/etc/docker/certs.d"}
}

// clientOf is the http.Client inside a registry source, nil if this version of the library has
// it elsewhere; downloads then work, but cannot go on in the middle.
func clientOf(src types.ImageSource) *http.Client {
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

// Publishable is the manifest as served.
func (s *dockerSource) Publishable(_ context.Context, raw []byte) ([]byte, error) { return raw, nil }

func (s *dockerSource) Blob(ctx context.Context, d manifest.Descriptor, offset int64) (io.ReadCloser, int64, error) {
	sp := &span{digest: d.Digest, urls: d.URLs, want: offset}
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
