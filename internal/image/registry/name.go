package registry

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"

	"github.com/containers/image/v5/docker"
	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/pkg/sysregistriesv2"
	"github.com/containers/image/v5/types"

	"osbuild-containers/internal/request"
)

// FullName returns the full name of an image in a registry, with its tag and digest, or with "latest" if it has neither.
// It drops port 443 unless something is configured for it. A short name (one without a registry) is resolved by
// registries.conf: to an alias, or to the only registry searched. Otherwise, or if short is false, it belongs to
// docker.io.
func FullName(a request.Access, name string, short bool) (string, error) {
	sys := systemContext(a)
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return "", err
	}
	if short && isShort(name) {
		if named, err = longName(sys, name, named); err != nil {
			return "", err
		}
	}
	return reference.TagNameOnly(usualPort(sys, named)).String(), nil
}

// isShort reports whether a name has no registry, by the rule of the reference parser.
func isShort(name string) bool {
	host, _, found := strings.Cut(name, "/")
	return !found || !strings.ContainsAny(host, ".:") && host != "localhost" && strings.ToLower(host) == host
}

// longName returns what registries.conf expands a short name to.
func longName(sys *types.SystemContext, name string, usual reference.Named) (reference.Named, error) {
	repository := name
	if at := strings.IndexAny(name, ":@"); at >= 0 {
		repository = name[:at]
	}
	rest := name[len(repository):]
	alias, _, err := sysregistriesv2.ResolveShortNameAlias(sys, repository)
	if err != nil {
		return nil, reword(err)
	}
	if alias != nil {
		return reference.ParseNormalizedNamed(alias.Name() + rest)
	}
	hosts, origin, err := sysregistriesv2.UnqualifiedSearchRegistriesWithOrigin(sys)
	if err != nil {
		return nil, reword(err)
	}
	switch len(hosts) {
	case 0:
		return usual, nil
	case 1:
		return reference.ParseNormalizedNamed(hosts[0] + "/" + name)
	}
	full := make([]string, len(hosts))
	for i, host := range hosts {
		full[i] = host + "/" + name
	}
	return nil, fmt.Errorf("a short name that could be any of %s, which %s searches: write it in full", strings.Join(full, ", "), origin)
}

// Locations returns the repositories to read an image from, in order, mirrors first.
func Locations(img Image) ([]string, error) {
	_, places, err := locations(img)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(places))
	for i, p := range places {
		names[i] = p.Reference.Name()
	}
	return names, nil
}

func locations(img Image) (*types.SystemContext, []sysregistriesv2.PullSource, error) {
	sys := systemContext(img.Access)
	named, err := img.named(sys)
	if err != nil {
		return nil, nil, err
	}
	reg, err := sysregistriesv2.FindRegistry(sys, named.Name())
	if err != nil {
		return nil, nil, reword(err)
	}
	conf := sysregistriesv2.ConfigurationSourceDescription(sys)
	if reg == nil {
		slog.Debug("registries.conf says nothing", "image", named, "file", conf)
		return sys, []sysregistriesv2.PullSource{{Reference: named}}, nil
	}
	if reg.Blocked {
		return nil, nil, fmt.Errorf("registry %s is blocked in %s or %s", reg.Prefix, sysregistriesv2.ConfigPath(sys), sysregistriesv2.ConfigDirPath(sys))
	}
	places, err := reg.PullSourcesFromReference(named)
	if err != nil {
		return nil, nil, reword(err)
	}
	asked := make([]string, len(places))
	for n, p := range places {
		asked[n] = p.Reference.Name()
	}
	slog.Debug("registries.conf", "image", named, "file", conf, "prefix", reg.Prefix, "asked", strings.Join(asked, ", then "))
	return sys, places, nil
}

// named returns the name with the pinned digest, or with its tag.
func (img Image) named(sys *types.SystemContext) (reference.Named, error) {
	named, err := reference.ParseNormalizedNamed(img.Name)
	if err == nil {
		named, err = exact(usualPort(sys, named), img.Pinned)
	}
	if err != nil {
		return nil, fmt.Errorf("image name %q: %w", img.Name, err)
	}
	return named, nil
}

// Reference returns the reference of the image in policy.json.
func Reference(img Image) (types.ImageReference, error) {
	named, err := img.parsed()
	if err == nil {
		named, err = exact(named, img.Pinned)
	}
	if err != nil {
		return nil, reword(fmt.Errorf("image name %q: %w", img.Name, err))
	}
	return docker.NewReference(named)
}

// parsed parses the image's name. Results are cached: requests have many items but few names, and parsing takes longer
// than the rest of a policy check.
func (img Image) parsed() (reference.Named, error) {
	type key struct {
		name   string
		access request.Access
	}
	if named, ok := parsedNames.Load(key{img.Name, img.Access}); ok {
		return named.(reference.Named), nil
	}
	named, err := reference.ParseNormalizedNamed(img.Name)
	if err != nil {
		return nil, err
	}
	named = usualPort(systemContext(img.Access), named)
	parsedNames.Store(key{img.Name, img.Access}, named)
	return named, nil
}

var parsedNames sync.Map
