package registry

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/containers/image/v5/directory"
	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/image"
	"github.com/containers/storage/pkg/reexec"

	"osbuild-containers/internal/request"
	"osbuild-containers/test/home"
	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

func TestMain(m *testing.M) {
	if reexec.Init() {
		return
	}
	os.Exit(home.Run(m))
}

// put writes a file below the home directory of this package's tests: the library reads HOME once.
func put(path, content string) {
	path = filepath.Join(os.Getenv("HOME"), path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		panic(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		panic(err)
	}
}

// open opens an image at an address, over plain http.
func open(t *testing.T, addr string, img *images.Image) *Source {
	t.Helper()
	src, err := Open(t.Context(), Image{Name: addr + "/a/b", Pinned: img.Digest})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { src.Close() })
	return src
}

// TestSignaturesAreTheLibrarys checks that signatures equal byte for byte those that the library's dir: transport writes.
func TestSignaturesAreTheLibrarys(t *testing.T) {
	img := images.New(images.Layer(10))
	hex := img.Digest.Encoded()
	payload := []byte("payload \x00 <&>\u2028")
	layer := images.LayerInfo{Digest: "sha256:" + "0", MediaType: "application/vnd.dev.cosign.simplesigning.v1+json", Blob: payload}
	layer.Digest, layer.Size = digestOf(payload), int64(len(payload))
	attached := images.New(images.Use(layer), images.Edit(func(m map[string]any) {
		m["layers"].([]any)[0].(map[string]any)["annotations"] = map[string]string{"z": "<&>", "a": "\u00e9"}
	}))
	f := registry.NewFaults(t, img.Handler())
	f.On(registry.Get("/(manifests|blobs)/.*"), registry.Handle(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := img.Handler()
		if strings.HasSuffix(r.URL.Path, ".sig") || strings.HasSuffix(r.URL.Path, layer.Digest.Encoded()) {
			h = attached.Handler()
		}
		h.ServeHTTP(w, r)
	})))
	put("sigs/a/b@sha256="+hex+"/signature-1", "\x89 simple")
	put("sigs/a/b@sha256="+hex+"/signature-2", "\x00simple-signing\n\x89 simple, said so")
	put(".config/containers/registries.d/signed.yaml", fmt.Sprintf(
		"docker:\n  %s:\n    lookaside: file://%s/sigs\n    use-sigstore-attachments: true\n", f.Addr, os.Getenv("HOME")))
	s := open(t, f.Addr, img)

	got, err := s.Signatures(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range writtenByLibrary(t, s) {
		if i >= len(got) || string(got[i]) != want {
			t.Errorf("signature %d of %q, want %q", i+1, got, want)
		}
	}
	if len(got) != 3 {
		t.Errorf("got %d signatures, want 3", len(got))
	}
}

// writtenByLibrary returns the signatures of a source as written by the dir: transport. The method that accepts all formats is
// not public; the library's copy package calls it the same way.
func writtenByLibrary(t *testing.T, s *Source) []string {
	t.Helper()
	sigs, err := image.UnparsedInstance(s.locations[0].current().src, nil).UntrustedSignatures(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	ref, err := directory.NewReference(dir)
	if err != nil {
		t.Fatal(err)
	}
	dest, err := ref.NewImageDestination(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	put := reflect.ValueOf(dest).MethodByName("PutSignaturesWithFormat")
	none := reflect.Zero(put.Type().In(2))
	out := put.Call([]reflect.Value{reflect.ValueOf(t.Context()), reflect.ValueOf(sigs), none})
	if err, _ := out[0].Interface().(error); err != nil {
		t.Fatal(err)
	}
	var files []string
	for i := range sigs {
		raw, err := os.ReadFile(filepath.Join(dir, fmt.Sprintf("signature-%d", i+1)))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, string(raw))
	}
	return files
}

// TestUsualPort checks when host:443 is replaced by host.
func TestUsualPort(t *testing.T) {
	put("run/containers/auth.json", `{"auths": {"known.example:443": {"auth": "YTpi"}, "other.example": {"auth": "YTpi"}}}`)
	defer put("run/containers/auth.json", "{}")
	put(".config/containers/certs.d/certified.example:443/ca.crt", "")
	conf := filepath.Join(t.TempDir(), "registries.conf")
	if err := os.WriteFile(conf, []byte("[[registry]]\nlocation = \"configured.example:443\"\n[[registry]]\nprefix = \"rewritten.example\"\nlocation = \"x.example\"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"registry.example:443/a/b":   "registry.example/a/b",
		"registry.example:4430/a/b":  "registry.example:4430/a/b",
		"registry.example/a/b":       "registry.example/a/b",
		"rewritten.example:443/a":    "rewritten.example/a",
		"other.example:443/a":        "other.example/a",
		"known.example:443/a":        "known.example:443/a",
		"certified.example:443/a":    "certified.example:443/a",
		"configured.example:443/a/b": "configured.example:443/a/b",
	} {
		sys := systemContext(request.Access{TLSVerify: true})
		sys.SystemRegistriesConfPath = conf
		named, err := reference.ParseNormalizedNamed(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := usualPort(sys, named).String(); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	sys := systemContext(request.Access{}) // plain http would go to port 80
	named, _ := reference.ParseNormalizedNamed("registry.example:443/a")
	if got := usualPort(sys, named).String(); got != "registry.example:443/a" {
		t.Errorf("without verification: %s", got)
	}
}
