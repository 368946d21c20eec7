package mirror

import (
	"errors"
	"fmt"
	"strings"

	"github.com/distribution/reference"

	"osbuild-containers/internal/request"
)

// A Place is the location of a mirror: a registry, and a path prefix for its repositories.
type Place struct {
	name   string
	Scoped bool // the path includes the image's registry
}

// ParsePlace parses host[:port][/prefix].
func ParsePlace(text string) (Place, error) {
	name := strings.TrimRight(strings.TrimPrefix(text, "docker://"), "/")
	host, path, _ := strings.Cut(name, "/")
	named, err := reference.ParseNormalizedNamed(name + "/x")
	switch {
	case strings.Contains(text, "@"): // may be a password
		return Place{}, errors.New("mirror: leave out what is before or after an @: podman login keeps user names and passwords")
	case request.CheckHost(name+"/") != nil:
		err = request.CheckHost(name + "/")
	case strings.Contains(name, "://"):
		err = errors.New("is not the name of a registry: leave out what is before ://")
	case err != nil && strings.ToLower(name) != name:
		err = errors.New("must be lower case")
	case strings.Contains(path, ":"):
		err = errors.New("has a tag, and images keep their own: write host[:port]/prefix")
	case err != nil:
		err = errors.New("is not the name of a registry: write host[:port]/prefix")
	case named.Name() != name+"/x" || reference.Domain(named) != host:
		err = errors.New("names no registry: write host[:port]/prefix")
	}
	if err != nil {
		return Place{}, fmt.Errorf("mirror %q: %w", text, err)
	}
	return Place{name: name}, nil
}

// String returns host[:port][/prefix].
func (p Place) String() string { return p.name }

// Path returns the path in the mirror for names below prefix, which is a registry or part of a repository name.
func (p Place) Path(prefix string) string {
	host, path, found := strings.Cut(prefix, "/")
	at := p.name
	if p.Scoped {
		at += "/" + component(host)
	}
	if found {
		at += "/" + path
	}
	return at
}

// component returns a registry as a path component, without its port.
func component(host string) string {
	return strings.ToLower(strings.Trim(strings.NewReplacer(":", "-", "[", "", "]", "").Replace(host), "-"))
}

// repository returns the mirror's repository for a repository.
func (p Place) repository(name string) (string, error) {
	at := p.Path(name)
	named, err := reference.ParseNormalizedNamed(at)
	if err == nil && named.Name() != at {
		err = errors.New("this is not the name of a repository")
	}
	if err != nil {
		return "", fmt.Errorf("%s would go to %s: %w", name, at, err)
	}
	return at, nil
}
