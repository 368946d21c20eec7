package mirror

import (
	"fmt"
	"slices"
	"strings"

	"github.com/distribution/reference"

	"osbuild-containers/internal/image/registry"
	"osbuild-containers/internal/pin"
	"osbuild-containers/internal/request"
)

// Conf returns a drop-in for registries.conf that makes all tools try the mirror first for images of the pins' registries.
// It includes this machine's settings for those registries, since a later file replaces the whole entry of a prefix.
func Conf(place Place, from, to request.Access, pins []pin.Image) (string, error) {
	own, err := registry.ConfigOf(to, place.name+"/x")
	if err != nil {
		return "", err
	}
	mirror := registry.Mirror{Insecure: own.Insecure}
	parts := map[string]string{}
	for _, p := range pins {
		named, err := reference.ParseNormalizedNamed(p.Reference)
		if err != nil || p.Transport != "" {
			continue
		}
		reg, err := registry.ConfigOf(from, named.Name())
		if err != nil {
			return "", err
		}
		if reg.Prefix == "" || strings.HasPrefix(reg.Prefix, "*.") {
			reg.Prefix, reg.Location = reference.Domain(named), ""
		}
		if reg.Location == "" {
			reg.Location = reg.Prefix
		}
		mirror.Location = place.Path(reg.Prefix)
		reg.Mirrors = slices.DeleteFunc(reg.Mirrors, func(m registry.Mirror) bool { return m.Location == mirror.Location })
		reg.Mirrors = slices.Insert(reg.Mirrors, 0, mirror)
		parts[reg.Prefix] = part(reg)
	}
	var b strings.Builder
	b.WriteString(`# For /etc/containers/registries.conf.d/. Tags come from the mirror too, as they
# were pinned; where they are to come from the registries themselves, as for
# pin update, add: pull-from-mirror = "digest-only"
`)
	prefixes := make([]string, 0, len(parts))
	for prefix := range parts {
		prefixes = append(prefixes, prefix)
	}
	slices.Sort(prefixes)
	for _, prefix := range prefixes {
		b.WriteString("\n" + parts[prefix])
	}
	return b.String(), nil
}

// part returns the entry of one registry.
func part(reg registry.Config) string {
	var b strings.Builder
	insecure := func(is bool) {
		if is {
			b.WriteString("insecure = true\n")
		}
	}
	fmt.Fprintf(&b, "[[registry]]\nprefix = %q\nlocation = %q\n", reg.Prefix, reg.Location)
	insecure(reg.Insecure)
	if reg.ByDigestOnly {
		b.WriteString("mirror-by-digest-only = true\n")
	}
	for _, m := range reg.Mirrors {
		fmt.Fprintf(&b, "\n[[registry.mirror]]\nlocation = %q\n", m.Location)
		insecure(m.Insecure)
		if m.For != "" {
			fmt.Fprintf(&b, "pull-from-mirror = %q\n", m.For)
		}
	}
	return b.String()
}
