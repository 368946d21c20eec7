package image

import (
	"github.com/containers/image/v5/pkg/sysregistriesv2"
	"github.com/containers/image/v5/types"

	"osbuild-containers/internal/request"
)

// Registry is what registries.conf says of the registry of an image.
type Registry struct {
	Prefix       string // of the names it is about; "" where nothing is said
	Location     string // what the prefix is replaced by
	Insecure     bool
	ByDigestOnly bool // mirrors are asked for digests only, not for tags
	Mirrors      []RegistryMirror
}

// RegistryMirror is a mirror of a registry.
type RegistryMirror struct {
	Location string
	Insecure bool
	For      string // pull-from-mirror: "" for all, or tag-only, digest-only
}

// RegistryOf is what registries.conf, and the access, say of the registry of a name in full.
func RegistryOf(a request.Access, name string) (Registry, error) {
	sys := systemContext(a)
	r := Registry{Insecure: sys.DockerInsecureSkipTLSVerify == types.OptionalBoolTrue}
	found, err := sysregistriesv2.FindRegistry(sys, name)
	if err != nil || found == nil {
		return r, reword(err)
	}
	r.Prefix, r.Location, r.ByDigestOnly = found.Prefix, found.Location, found.MirrorByDigestOnly
	r.Insecure = r.Insecure || found.Insecure
	for _, m := range found.Mirrors {
		r.Mirrors = append(r.Mirrors, RegistryMirror{m.Location, m.Insecure, m.PullFromMirror})
	}
	return r, nil
}
