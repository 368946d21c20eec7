package registry

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"osbuild-containers/internal/request"
	"osbuild-containers/internal/retry"
	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

// useRegistriesConf makes text the registries.conf of a test.
func useRegistriesConf(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "registries.conf")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CONTAINERS_REGISTRIES_CONF", path)
	return path
}

// mirrored returns a registries.conf in which the repository registry.example/a/b has mirrors.
func mirrored(mirrors ...string) string {
	text := "[[registry]]\nprefix = \"registry.example/a\"\nlocation = \"" + mirrors[len(mirrors)-1] + "/origin\"\ninsecure = true\n"
	for _, m := range mirrors[:len(mirrors)-1] {
		text += "[[registry.mirror]]\nlocation = \"" + m + "/mirror\"\ninsecure = true\n"
	}
	return text
}

func tagged(name string) Image {
	return Image{Name: name, Access: request.Access{TLSVerify: true}}
}

func TestFullName(t *testing.T) {
	useRegistriesConf(t, `unqualified-search-registries = ["search.example"]
[aliases]
"short" = "alias.example/team/long"
`)
	digest := "@sha256:" + strings.Repeat("a", 64)
	for name, want := range map[string]string{
		"short":                           "alias.example/team/long:latest",
		"short:v1":                        "alias.example/team/long:v1",
		"short:v1" + digest:               "alias.example/team/long:v1" + digest,
		"other":                           "search.example/other:latest",
		"team/other:v1":                   "search.example/team/other:v1",
		"other" + digest:                  "search.example/other" + digest,
		"localhost/x":                     "localhost/x:latest",
		"localhost:5000/x":                "localhost:5000/x:latest",
		"docker.io/x":                     "docker.io/library/x:latest",
		"index.docker.io/team/x":          "docker.io/team/x:latest",
		"registry.example:443/x:1":        "registry.example/x:1",
		"registry.example:443/x" + digest: "registry.example/x" + digest,
	} {
		got, err := FullName(request.Access{TLSVerify: true}, name, true)
		if err != nil || got != want {
			t.Errorf("%s is %s, %v; want %s", name, got, err, want)
		}
	}
	if got, err := FullName(request.Access{TLSVerify: true}, "short", false); err != nil || got != "docker.io/library/short:latest" {
		t.Errorf("not as a short name, short is %s, %v", got, err)
	}
	useRegistriesConf(t, "")
	if got, err := FullName(request.Access{TLSVerify: true}, "other", true); err != nil || got != "docker.io/library/other:latest" {
		t.Errorf("without configuration, other is %s, %v", got, err)
	}
	conf := useRegistriesConf(t, `unqualified-search-registries = ["one.example", "two.example"]`)
	_, err := FullName(request.Access{TLSVerify: true}, "other:1", true)
	want := "a short name that could be any of one.example/other:1, two.example/other:1, which " + conf + " searches: write it in full"
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

// TestTagIsWhatItPointsToWhenOpened checks that a tag is resolved once, at Open.
func TestTagIsWhatItPointsToWhenOpened(t *testing.T) {
	old, now := images.New(images.Layer(10)), images.New(images.Layer(20))
	f := registry.NewFaults(t, now.Handler())
	f.On(registry.Manifest("v1").First(1), registry.Handle(old.Handler()))
	useRegistriesConf(t, mirrored(f.Addr))
	src, err := Open(t.Context(), tagged("registry.example/a/b:v1"))
	if err != nil {
		t.Fatal(err)
	}
	defer src.Close()
	for range 2 {
		if raw, err := src.Manifest(t.Context(), ""); err != nil || digestOf(raw) != old.Digest {
			t.Errorf("got %s, %v; want %s", digestOf(raw), err, old.Digest)
		}
	}
	if got := len(f.Matching(registry.Any("/manifests/"))); got != 1 {
		t.Errorf("%d requests for manifests, want one", got)
	}
}

// TestOriginIsTheMirror checks that Origin is the mirror that was read from.
func TestOriginIsTheMirror(t *testing.T) {
	img := images.New(images.Layer(10))
	empty, full := registry.NewFaults(t, nil), registry.NewFaults(t, img.Handler())
	empty.On(registry.Any("^/v2/$"), registry.Handle(img.Handler()))
	for want, conf := range map[string]string{
		full.Addr + "/mirror/b": mirrored(full.Addr, empty.Addr),
		full.Addr + "/origin/b": mirrored(empty.Addr, full.Addr),
	} {
		useRegistriesConf(t, conf)
		src, err := Open(t.Context(), tagged("registry.example/a/b"))
		if err != nil {
			t.Fatal(err)
		}
		if got := src.Origin(); got != want {
			t.Errorf("read from %s, want %s", got, want)
		}
		src.Close()
		d, from, err := Head(t.Context(), tagged("registry.example/a/b:latest"))
		if err != nil || d != img.Digest || from != want {
			t.Errorf("head: %s from %s, %v; want %s from %s", d, from, err, img.Digest, want)
		}
	}
	useRegistriesConf(t, mirrored(empty.Addr, full.Addr))
	places, err := Locations(tagged("registry.example/a/b"))
	if want := full.Addr + "/origin/b"; err != nil || len(places) != 2 || places[1] != want {
		t.Errorf("locations %q, %v", places, err)
	}
}

// TestHeadReadsNothing checks that Head sends no GET for a manifest.
func TestHeadReadsNothing(t *testing.T) {
	img := images.New(images.Layer(10))
	f := registry.NewFaults(t, img.Handler())
	useRegistriesConf(t, mirrored(f.Addr))
	target := tagged("registry.example/a/b")
	target.Pinned = img.Digest
	if d, _, err := Head(t.Context(), target); err != nil || d != img.Digest {
		t.Errorf("got %s, %v", d, err)
	}
	if got := f.Matching(registry.Get("/manifests/")); len(got) != 0 {
		t.Errorf("%d manifests were read", len(got))
	}
}

// TestHeadWithoutHead checks that Head falls back to GET for registries with a broken HEAD.
func TestHeadWithoutHead(t *testing.T) {
	img := images.New(images.Layer(10))
	f := registry.NewFaults(t, img.Handler())
	useRegistriesConf(t, mirrored(f.Addr))
	for name, fault := range map[string]registry.Fault{
		"no digest":   registry.Header("Docker-Content-Digest", ""),
		"not allowed": registry.Status(http.StatusMethodNotAllowed, ""),
	} {
		f.Reset()
		f.On(registry.Method(http.MethodHead, ""), fault)
		if d, _, err := Head(t.Context(), tagged("registry.example/a/b:v1")); err != nil || d != img.Digest {
			t.Errorf("%s: got %s, %v", name, d, err)
		}
	}
}

// TestHeadErrors checks that a missing image and a failing registry are distinguished.
func TestHeadErrors(t *testing.T) {
	img := images.New(images.Layer(10))
	f := registry.NewFaults(t, img.Handler())
	useRegistriesConf(t, mirrored(f.Addr, f.Addr))
	for name, c := range map[string]struct {
		fault    registry.Fault
		notFound bool
		class    retry.Class
	}{
		"404":   {registry.Status(404, ""), true, retry.Final},
		"known": {registry.Error(404, "MANIFEST_UNKNOWN", "manifest unknown"), true, retry.Final},
		"500":   {registry.Status(500, ""), false, retry.Transient},
		"reset": {registry.Reset(), false, retry.Transient},
		"403":   {registry.Error(403, "DENIED", "denied"), false, retry.Denied},
	} {
		f.Reset()
		f.On(registry.Any("/manifests/"), c.fault)
		_, _, err := Head(t.Context(), tagged("registry.example/a/b:v1"))
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		if class, _ := Classify(err); class != c.class || IsNotFound(err) != c.notFound {
			t.Errorf("%s: class %d, not found %t: %v", name, class, IsNotFound(err), err)
		}
		for _, place := range []string{f.Addr + "/mirror/b: ", f.Addr + "/origin/b: "} {
			if !strings.Contains(err.Error(), place) {
				t.Errorf("%s: %v does not name %s", name, err, place)
			}
		}
	}
}
