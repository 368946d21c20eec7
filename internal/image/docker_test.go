package image

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/containers/image/v5/directory"
	"github.com/containers/image/v5/docker"
	"github.com/containers/image/v5/docker/reference"
	"github.com/containers/image/v5/image"
	"github.com/containers/image/v5/types"
	"github.com/sirupsen/logrus"

	"osbuild-containers/internal/request"
	"osbuild-containers/test/home"
	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

func TestMain(m *testing.M) {
	if Reexec() {
		return
	}
	os.Exit(home.Run(m))
}

// put writes a file below the home folder of this package's tests: the library reads HOME once.
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
func open(t *testing.T, addr string, img *images.Image) *dockerSource {
	t.Helper()
	src, err := openDocker(t.Context(), Target{
		Image:  request.Image{Name: addr + "/a/b", Digest: img.Digest, Transport: request.Docker},
		Pinned: img.Digest, ID: img.ID,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { src.Close() })
	return src.(*dockerSource)
}

// TestClientIsFound fails when an update of the library hides its http.Client elsewhere: then
// downloads do not resume, and redirects are not watched.
func TestClientIsFound(t *testing.T) {
	img := images.New(images.Layer(10))
	f := registry.NewFaults(t, img.Handler())
	s := open(t, f.Addr, img)
	if !s.hooked {
		t.Fatal("the http.Client of a registry source was not found")
	}
	client := clientOf(s.src)
	if w, ok := client.Transport.(wire); !ok {
		t.Errorf("the transport is %T, want wire", client.Transport)
	} else if _, ok := w.RoundTripper.(*http.Transport); !ok {
		t.Errorf("under wire is %T, want *http.Transport", w.RoundTripper)
	}
	if client.CheckRedirect == nil {
		t.Error("redirects are not watched")
	}
}

// TestClientOfOthers shows that what is no registry source, or one of another shape, is left alone.
func TestClientOfOthers(t *testing.T) {
	dir, err := directory.NewReference(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	src, err := dir.NewImageSource(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []types.ImageSource{src, nil, odd{}, &odd{}, &oddClient{c: &struct{ client string }{"x"}}, &oddClient{}} {
		if c := clientOf(s); c != nil {
			t.Errorf("%T: found %v", s, c)
		}
	}
}

type odd struct{ types.ImageSource }

type oddClient struct {
	types.ImageSource
	c *struct{ client string }
}

// TestThrottleTextIsTheLibrarys fails when an update of the library words its wait for a 429 otherwise.
func TestThrottleTextIsTheLibrarys(t *testing.T) {
	var notes []string
	RouteLogs(func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) })
	img := images.New(images.Layer(10))
	f := registry.NewFaults(t, img.Handler())
	f.On(registry.Get("/manifests/").First(1), registry.Status(429, "", "Retry-After", "1"))
	open(t, f.Addr, img)
	want := fmt.Sprintf("429 Too Many Requests from %s/v2/a/b/manifests/%s: trying again in 1s", f.URL, img.Digest)
	if len(notes) != 1 || notes[0] != want {
		t.Errorf("noted %q, want %q", notes, want)
	}
	if wait := time.Until(Throttled()); wait > 0 || wait < -time.Minute {
		t.Errorf("the wait ended in %s, want just now", wait)
	}
	notes = nil
	logrus.Info("not for users")
	logrus.Warn("for users")
	if len(notes) != 1 || notes[0] != "warning: for users" {
		t.Errorf("noted %q, want the warning", notes)
	}
}

// TestSignaturesAreTheLibrarys shows that signatures come out byte for byte as the library's own
// dir: transport writes them.
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

// writtenByLibrary is what the dir: transport makes of the signatures of a source. The method that
// takes all formats is not public; the library's copy package calls it just so.
func writtenByLibrary(t *testing.T, s *dockerSource) []string {
	t.Helper()
	sigs, err := image.UnparsedInstance(s.src, nil).UntrustedSignatures(t.Context())
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

// TestUsualPort shows when host:443 is host, and when it is left as it was written.
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

// TestNoClientStillDownloads shows that without the http.Client whole blobs are read all the same.
func TestNoClientStillDownloads(t *testing.T) {
	img := images.New(images.Layer(1000))
	f := registry.NewFaults(t, img.Handler())
	ref, err := docker.ParseReference("//" + f.Addr + "/a/b@" + string(img.Digest))
	if err != nil {
		t.Fatal(err)
	}
	src, err := ref.NewImageSource(t.Context(), systemContext(request.Access{}))
	if err != nil {
		t.Fatal(err)
	}
	s := &dockerSource{reader: reader{src: src, pinned: img.Digest}}
	defer s.Close()
	r, start, err := s.Blob(t.Context(), descriptor(img.Layers[0]), 500)
	if err != nil || start != 0 {
		t.Fatalf("start %d, %v; want the beginning", start, err)
	}
	defer r.Close()
	if n := length(t, r); n != img.Layers[0].Size {
		t.Errorf("got %d bytes, want %d", n, img.Layers[0].Size)
	}
}
