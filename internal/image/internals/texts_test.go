package internals

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestTexts fails when an update of the library changes a text read here.
func TestTexts(t *testing.T) {
	const library, helpers = "github.com/containers/image/v5", "github.com/docker/docker-credential-helpers"
	dirs := map[string]string{library: "", helpers: ""}
	for module := range dirs {
		out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
		if dirs[module] = strings.TrimSpace(string(out)); err != nil || dirs[module] == "" {
			t.Skipf("no source of %s: %v", module, err)
		}
	}
	for _, c := range []struct{ module, file, text string }{
		{library, "docker/docker_client.go", "reading manifest %s in %s: "},
		{library, "docker/docker_client.go", "reading blob %s in %s: "},
		{library, "docker/docker_client.go", "pinging container registry %s: "},
		{library, "docker/docker_client.go", "fetching blob: "},
		{library, "docker/docker_client.go", `"Requesting bearer token"`},
		{library, "docker/docker_client.go", `"Trying to obtain access token"`},
		{library, "docker/distribution_error.go", "received unexpected HTTP status: "},
		{library, "docker/errors.go", "unable to retrieve auth token: invalid username/password: "},
		{library, "docker/errors.go", "StatusCode: %d, %q"},
		{library, "docker/docker_image_src.go", "signatures, assuming that's unreasonable and a server error"},
		{library, "docker/docker_image_src.go", "loading registries configuration: "},
		{library, "pkg/sysregistriesv2/system_registries_v2.go", "loading registries configuration %q"},
		{library, "internal/iolimits/iolimits.go", "exceeded maximum allowed size of %d bytes"},
		{library, "pkg/docker/config/config.go", "reading JSON file %q: "},
		{library, "pkg/docker/config/config.go", "unmarshaling JSON at %q: "},
		{helpers, "client/client.go", "error getting credentials - err: "},
	} {
		raw, err := os.ReadFile(filepath.Join(dirs[c.module], c.file))
		if err != nil || !strings.Contains(string(raw), c.text) {
			t.Errorf("%s has no %q, %v", c.file, c.text, err)
		}
	}
}

// TestShorten pairs texts of the library with their short forms.
func TestShorten(t *testing.T) {
	for text, want := range map[string]string{
		"reading manifest sha256:x in q.io/a: manifest unknown":                 "read manifest: manifest unknown",
		`Requesting bearer token: invalid status code; StatusCode: 503, "busy"`: `request a token: invalid status code; 503 Service Unavailable: "busy"`,
		`StatusCode: 403, ""`: "403 Forbidden",
		`Patch "https://q.io/v2/a/blobs/uploads/1?_state=secret": EOF`:               `Patch "https://q.io/v2/a/blobs/uploads/1": EOF`,
		"error getting credentials - err: exit status 1, out: `no such credentials`": "exit status 1: no such credentials",
	} {
		if got := Shorten(text); got != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}
