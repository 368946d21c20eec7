package registry

import (
	"github.com/containers/image/v5/pkg/sysregistriesv2"
	"github.com/containers/image/v5/types"

	"osbuild-containers/internal/request"
)

// A Config is what registries.conf says of the registry of an image.
type Config struct {
	Prefix       string // of the names it is about; "" where nothing is said
	Location     string // what the prefix is replaced by
	Insecure     bool
	ByDigestOnly bool // mirrors are used for digests only, not for tags
	Mirrors      []Mirror
}

// A Mirror is a mirror of a registry.
type Mirror struct {
	Location string
	Insecure bool
	For      string // pull-from-mirror: "" for all, or tag-only, digest-only
}

// ConfigOf returns what registries.conf, and the access, say of the registry of a name in full.
func ConfigOf(a request.Access, name string) (Config, error) {
	sys := systemContext(a)
	r := Config{Insecure: sys.DockerInsecureSkipTLSVerify == types.OptionalBoolTrue}
	found, err := sysregistriesv2.FindRegistry(sys, name)
	if err != nil || found == nil {
		return r, reword(err)
	}
	r.Prefix, r.Location, r.ByDigestOnly = found.Prefix, found.Location, found.MirrorByDigestOnly
	r.Insecure = r.Insecure || found.Insecure
	for _, m := range found.Mirrors {
		r.Mirrors = append(r.Mirrors, Mirror{m.Location, m.Insecure, m.PullFromMirror})
	}
	return r, nil
}
