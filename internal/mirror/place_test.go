package mirror

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"osbuild-containers/internal/pin"
	"osbuild-containers/internal/request"
)

func TestPlaces(t *testing.T) {
	for _, c := range []struct{ text, place, repository string }{
		{"registry.example.com/mirror", "registry.example.com/mirror", "registry.example.com/mirror/team/app"},
		{"docker://registry.example.com/a/b/", "registry.example.com/a/b", "registry.example.com/a/b/team/app"},
		{"localhost:5000", "localhost:5000", "localhost:5000/team/app"},
	} {
		p, err := ParsePlace(c.text)
		if err != nil || p.String() != c.place {
			t.Errorf("%q is %q, %v", c.text, p, err)
			continue
		}
		if got, err := p.repository("my.test/team/app"); err != nil || got != c.repository {
			t.Errorf("%q has the repository %q, %v", c.text, got, err)
		}
	}
	p, err := ParsePlace("mirror.example")
	if err != nil {
		t.Fatal(err)
	}
	p.Scoped = true
	for name, want := range map[string]string{
		"my.test/team/app":              "mirror.example/my.test/team/app",
		"docker.io/library/app":         "mirror.example/docker.io/library/app",
		"registry.example.com:5000/app": "mirror.example/registry.example.com-5000/app",
	} {
		if got, err := p.repository(name); err != nil || got != want {
			t.Errorf("%s goes to %q, %v", name, got, err)
		}
	}
	for text, want := range map[string]string{
		"":                           `mirror "": is not the name of a registry: write host[:port]/prefix`,
		"mirror":                     `mirror "mirror": names no registry: write host[:port]/prefix`,
		"docker.io":                  `mirror "docker.io": names no registry: write host[:port]/prefix`,
		"https://mirror.example":     `mirror "https://mirror.example": is not the name of a registry: leave out what is before ://`,
		"mirror.example/Team":        `mirror "mirror.example/Team": must be lower case`,
		"mirror.example/team:v1":     `mirror "mirror.example/team:v1": has a tag, and images keep their own: write host[:port]/prefix`,
		"ann:secret@mirror.example/": `mirror: leave out what is before or after an @: podman login keeps user names and passwords`,
	} {
		if _, err := ParsePlace(text); err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}

// Conf keeps existing settings of a registry, puts the mirror first, and has an entry for each prefix that matches names.
func TestConf(t *testing.T) {
	conf := filepath.Join(t.TempDir(), "registries.conf")
	text := `
[[registry]]
prefix = "registry.example/deep/part"
location = "elsewhere.example/part"

[[registry.mirror]]
location = "near.example/part"
pull-from-mirror = "digest-only"

[[registry]]
prefix = "*.wild.example"
insecure = true

[[registry]]
location = "mirror.example"
insecure = true
`
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CONTAINERS_REGISTRIES_CONF", conf)
	place, err := ParsePlace("mirror.example/m")
	if err != nil {
		t.Fatal(err)
	}
	var pins []pin.Image
	for _, name := range []string{"registry.example/deep/part/app:1", "registry.example/app:1", "registry.example/tool:1", "a.wild.example/x:1"} {
		pins = append(pins, pin.Image{Reference: name})
	}
	pins = append(pins, pin.Image{Reference: "localhost/stored:1", Transport: "containers-storage"})
	access := request.Access{TLSVerify: true}
	got, err := Conf(place, access, access, pins)
	if err != nil {
		t.Fatal(err)
	}
	mirror := func(path string) string {
		return fmt.Sprintf("\n[[registry.mirror]]\nlocation = \"mirror.example/m%s\"\ninsecure = true\n", path)
	}
	want := "\n[[registry]]\nprefix = \"a.wild.example\"\nlocation = \"a.wild.example\"\ninsecure = true\n" + mirror("") +
		"\n[[registry]]\nprefix = \"registry.example\"\nlocation = \"registry.example\"\n" + mirror("") +
		"\n[[registry]]\nprefix = \"registry.example/deep/part\"\nlocation = \"elsewhere.example/part\"\n" + mirror("/deep/part") +
		"\n[[registry.mirror]]\nlocation = \"near.example/part\"\npull-from-mirror = \"digest-only\"\n"
	if _, rest, _ := strings.Cut(got, "\n\n"); "\n"+rest != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	// The library accepts the file, and reading it again changes nothing.
	both := filepath.Join(t.TempDir(), "both.conf")
	t.Setenv("CONTAINERS_REGISTRIES_CONF", both)
	if err := os.WriteFile(both, []byte(got+"\n[[registry]]\nlocation = \"mirror.example\"\ninsecure = true\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if again, err := Conf(place, access, access, pins); err != nil || again != got {
		t.Errorf("with it: %v\n%s", err, again)
	}
}
