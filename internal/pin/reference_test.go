package pin

import (
	"strings"
	"testing"

	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/request"
)

// TestParseReference pairs texts with references.
func TestParseReference(t *testing.T) {
	d := "sha256:" + strings.Repeat("a", 64)
	for text, want := range map[string]string{
		"name":                                   "docker.io/library/name:latest",
		"docker://name":                          "docker.io/library/name:latest",
		"docker:///name":                         "docker.io/library/name:latest",
		"docker://registry.example/name/":        "registry.example/name:latest",
		"docker://registry.example/team/name:1/": "registry.example/team/name:1",
		"registry.example:443/name:1":            "registry.example/name:1",
		"registry.example:5000/name":             "registry.example:5000/name:latest",
		"localhost/name":                         "localhost/name:latest",
		"name:1@" + d:                            "docker.io/library/name:1",
		"name@" + d:                              "docker.io/library/name@" + d,
		"containers-storage:localhost/name:1":    "localhost/name:1",
		"containers-storage:name":                "docker.io/library/name:latest",
		"containers-storage:[/var/x]name":        "docker.io/library/name:latest",
	} {
		r, err := ParseReference(request.Access{TLSVerify: true}, text)
		if err != nil || r.String() != want {
			t.Errorf("%s is %s, %v; want %s", text, r, err, want)
		}
		if strings.Contains(text, "@"+d) != (r.Digest != "") || strings.HasPrefix(text, "containers-storage:") != (r.Transport == request.ContainersStorage) {
			t.Errorf("%s is %+v", text, r)
		}
	}
	for text, want := range map[string]string{
		"containers-storage:[overlay@/var/x]name":          "/var/x",
		"containers-storage:[vfs@/var/x+/run/y:a=b]name":   "/var/x",
		"containers-storage:[/var/x+/run/y]localhost/name": "/var/x",
		"containers-storage:localhost/name":                "",
	} {
		if r, err := ParseReference(request.Access{}, text); err != nil || r.Location != want {
			t.Errorf("%s has the location %q, %v; want %q", text, r.Location, err, want)
		}
	}
	for text, want := range map[string]string{
		"":                       `image "": names no image`,
		"docker://":              `image "docker://": names no image`,
		"oci://x":                "image \"oci://x\": no image is read from oci:\nimport it: osbuild-containers import x",
		"a b":                    `image "a b": has a space or a control character in it`,
		"registry.example/Name":  `image "registry.example/Name": the name must be lower case`,
		"registry.example/name:": `image "registry.example/name:": is not the name of an image: invalid reference format`,
		"name@sha512:" + strings.Repeat("a", 128): `image "name@sha512:` + strings.Repeat("a", 128) + `": digests are sha256 here, not sha512`,
		"containers-storage:[x]name":              `image "containers-storage:[x]name": the store "x" is not an absolute path`,
		"containers-storage:[/x":                  `image "containers-storage:[/x": a bracket is not closed: [STORE]NAME`,
		"containers-storage:x@" + d:               `image "containers-storage:x@` + d + `": a digest does not belong to the name of a stored image: use its tag`,
		"containers-storage:@" + d[7:]:            `image "containers-storage:@` + d[7:] + `": an image id cannot be checked or updated: give the image a name, with podman tag, and pin that`,
	} {
		if r, err := ParseReference(request.Access{}, text); err == nil || hint.Text(err, hint.Flags) != want {
			t.Errorf("%s is %+v\ngot  %v\nwant %s", text, r, err, want)
		}
	}
}

func TestParsePlatformRefuses(t *testing.T) {
	for _, text := range []string{"", "x86", "AMD64", "linux", "linux/", "windows/amd64", "amd64/", "arm/v7/x", "any/v1", "linux/any", "amd64,arm64"} {
		if p, err := ParsePlatform(text); err == nil {
			t.Errorf("%q is %s", text, p)
		} else if !strings.Contains(err.Error(), "x86_64, aarch64") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
