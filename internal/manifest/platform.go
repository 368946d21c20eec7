package manifest

import (
	"cmp"
	"strings"
)

// goNames maps the names that osbuild, rpm, Debian and the kernel have for architectures to Go's names and variants. The OCI
// specification requires Go's, but documents have all of these.
var goNames = map[string]Platform{
	"x86_64": {Architecture: "amd64"}, "x86-64": {Architecture: "amd64"},
	"aarch64":  {Architecture: "arm64"},
	"armhfp":   {Architecture: "arm", Variant: "v7"},
	"armhf":    {Architecture: "arm", Variant: "v7"},
	"armv7hl":  {Architecture: "arm", Variant: "v7"},
	"armv7l":   {Architecture: "arm", Variant: "v7"},
	"armel":    {Architecture: "arm", Variant: "v6"},
	"armv6l":   {Architecture: "arm", Variant: "v6"},
	"i386":     {Architecture: "386"},
	"i486":     {Architecture: "386"},
	"i586":     {Architecture: "386"},
	"i686":     {Architecture: "386"},
	"ppc64el":  {Architecture: "ppc64le"},
	"mips64el": {Architecture: "mips64le"},

	"loongarch64": {Architecture: "loong64"},
}

// Normalize returns the platform with Go's names. Unknown names stay.
func (p Platform) Normalize() Platform {
	p.OS, p.Architecture = strings.ToLower(p.OS), strings.ToLower(p.Architecture)
	if known, ok := goNames[p.Architecture]; ok {
		p.Architecture, p.Variant = known.Architecture, cmp.Or(p.Variant, known.Variant)
	}
	if strings.HasPrefix(p.Architecture, "arm") && len(p.Variant) == 1 && p.Variant >= "5" && p.Variant <= "9" {
		p.Variant = "v" + p.Variant
	}
	return p
}

// PlatformOf returns the platform in an image's config, with Go's names.
func PlatformOf(config []byte) (Platform, error) {
	var p Platform
	if err := Unmarshal(config, &p); err != nil {
		return Platform{}, err
	}
	return p.Normalize(), nil
}
