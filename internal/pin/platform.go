package pin

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"osbuild-containers/internal/manifest"
)

// A Platform is the operating system (linux), architecture and variant of an image, or any.
type Platform struct {
	Any          bool
	Architecture string // Go's name
	Variant      string // "" for the usual one
}

// goArches are the known architectures, by Go's names.
var goArches = []string{"386", "amd64", "arm", "arm64", "loong64", "mips64le", "ppc64", "ppc64le", "riscv64", "s390x"}

// usualVariant maps an architecture to its variant if none is given.
var usualVariant = map[string]string{"amd64": "v1", "arm64": "v8", "arm": "v7"}

// ParsePlatform parses a value of --arch, or the platform of a pin: osbuild's or Go's name of an architecture, optionally
// with a variant and the prefix linux/; or any.
func ParsePlatform(s string) (Platform, error) {
	name, variant, _ := strings.Cut(strings.TrimPrefix(s, "linux/"), "/")
	if s == "any" {
		return Platform{Any: true}, nil
	}
	arch := manifest.Platform{Architecture: name}.Normalize()
	if arch.Architecture == "arm" {
		arch.Variant = cmp.Or(arch.Variant, usualVariant["arm"])
	}
	p := Platform{Architecture: arch.Architecture, Variant: arch.Variant}
	if !slices.Contains(goArches, p.Architecture) || name != strings.ToLower(name) || strings.Contains(variant, "/") || strings.HasSuffix(s, "/") {
		return Platform{}, fmt.Errorf("architecture %q is not known: use osbuild's name or Go's, such as x86_64, aarch64, arm64/v8, arm/v7, ppc64le, s390x, riscv64, or any", s)
	}
	return p.with(variant), nil
}

// with returns p in the given variant, normalized.
func (p Platform) with(variant string) Platform {
	p.Variant = cmp.Or(variant, p.Variant)
	if p.Architecture != "arm" && p.Variant == usualVariant[p.Architecture] {
		p.Variant = ""
	}
	return p
}

// String returns os/architecture[/variant], or any.
func (p Platform) String() string {
	if p.Any {
		return "any"
	}
	return (&manifest.Platform{OS: "linux", Architecture: p.Architecture, Variant: p.Variant}).String()
}

// fits reports whether other has the same architecture and variant as p.
func (p Platform) fits(other *manifest.Platform) bool {
	if other == nil || other.OS != "linux" || other.Architecture != p.Architecture {
		return false
	}
	usual := usualVariant[p.Architecture]
	return cmp.Or(p.Variant, usual) == cmp.Or(other.Variant, usual)
}
