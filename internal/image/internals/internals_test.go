package internals

import (
	"crypto/tls"
	"errors"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/containers/image/v5/docker"
	"github.com/containers/image/v5/types"
)

// handled is a RoundTripper that answers by itself.
type handled struct{ http.Handler }

func (h handled) RoundTrip(req *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	resp := w.Result()
	resp.Request = req
	return resp, nil
}

func refs(t *testing.T) (logical, physical types.ImageReference) {
	t.Helper()
	logical, err := docker.ParseReference("//registry.example/a/b:1")
	if err != nil {
		t.Fatal(err)
	}
	physical, err = docker.ParseReference("//mirror.example/c/d:1")
	if err != nil {
		t.Fatal(err)
	}
	return logical, physical
}

// TestNewSource fails when an update of the library breaks an assumption: a source made here sends nothing before it is
// connected, and then uses only the given client and challenges.
func TestNewSource(t *testing.T) {
	logical, physical := refs(t)
	sys := &types.SystemContext{AuthFilePath: t.TempDir() + "/none", DockerPerHostCertDirPath: t.TempDir(), RegistriesDirPath: t.TempDir(), SystemRegistriesConfPath: "/dev/null"}
	src, client, err := NewSource(t.Context(), sys, logical, physical)
	if err != nil {
		t.Fatal(err)
	}
	if conf, err := client.TLS(); err != nil || len(conf.CipherSuites) == 0 {
		t.Errorf("TLS: %v, %v", conf, err)
	}
	var asked atomic.Value
	asked.Store("")
	web := &http.Client{Transport: handled{http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Store(asked.Load().(string) + r.Method + " " + r.URL.String() + "\n")
		if strings.HasPrefix(r.URL.Path, "/token") {
			_, _ = w.Write([]byte(`{"token": "t"}`))
			return
		}
		if r.Header.Get("Authorization") != "Bearer t" {
			t.Errorf("%s came without a token", r.URL)
		}
		_, _ = w.Write([]byte("manifest"))
	})}}
	if err := client.Connect(web, Properties{Scheme: "https", Challenges: []Challenge{{
		"bearer", map[string]string{"realm": "https://auth.example/token", "service": "s"},
	}}}); err != nil {
		t.Fatal(err)
	}
	raw, _, err := src.GetManifest(t.Context(), nil)
	if err != nil || string(raw) != "manifest" {
		t.Fatalf("got %q, %v", raw, err)
	}
	want := "GET https://auth.example/token?scope=repository%3Ac%2Fd%3Apull&service=s\nGET https://mirror.example/v2/c/d/manifests/1\n"
	if got := asked.Load(); got != want {
		t.Errorf("asked\n%swant\n%s", got, want)
	}
	if got := src.Reference().StringWithinTransport(); got != logical.StringWithinTransport() {
		t.Errorf("the source is of %s", got)
	}
	if err := src.Close(); err != nil {
		t.Error(err)
	}
}

// TestDestinationUsesTheClient is the same for destinations.
func TestDestinationUsesTheClient(t *testing.T) {
	_, physical := refs(t)
	dest, err := physical.NewImageDestination(t.Context(), &types.SystemContext{SystemRegistriesConfPath: "/dev/null", AuthFilePath: t.TempDir() + "/none"})
	if err != nil {
		t.Fatal(err)
	}
	client, err := ClientOf(dest)
	if err != nil {
		t.Fatal(err)
	}
	var asked int
	web := &http.Client{Transport: handled{http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		w.WriteHeader(http.StatusCreated)
	})}}
	if err := client.Connect(web, Properties{Scheme: "http"}); err != nil {
		t.Fatal(err)
	}
	if err := dest.PutManifest(t.Context(), []byte("{}"), nil); err != nil || asked != 1 {
		t.Errorf("asked %d times, %v; want once", asked, err)
	}
}

// TestOtherShapes checks that other types are an error, not a panic.
func TestOtherShapes(t *testing.T) {
	type other struct{ tlsClientConfig *tls.Certificate } //nolint:unused // accessed by reflection
	c := &Client{reflect.ValueOf(&other{}).Elem()}
	_, err := c.TLS()
	var shape *shapeError
	for what, err := range map[string]error{
		"another type": err,
		"no field":     c.Connect(nil, Properties{}),
		"no struct":    func() error { _, err := ClientOf(nil); return err }(),
	} {
		if !errors.As(err, &shape) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
