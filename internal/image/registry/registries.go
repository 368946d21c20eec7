package registry

import (
	"github.com/containers/image/v5/pkg/sysregistriesv2"
	"github.com/containers/image/v5/types"

	"osbuild-containers/internal/request"
)

// A Config is the part of registries.conf for an image's registry.
type Config struct {
	Prefix       string // of the names it applies to; "" if none applies
	Location     string // replaces the prefix
	Insecure     bool
	ByDigestOnly bool // use mirrors for digests only, not for tags
	Mirrors      []Mirror
}

// A Mirror is a mirror of a registry.
type Mirror struct {
	Location string
	Insecure bool
	For      string // pull-from-mirror: "" for all, or tag-only, digest-only
}

// ConfigOf returns what registries.conf and the access options say about the registry of a full name.
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
