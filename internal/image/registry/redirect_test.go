package registry

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"osbuild-containers/internal/image/library"
	"osbuild-containers/internal/retry"
)

// TestCredentialsDoNotFollowARedirectOfTheManifest checks that a redirect of the first request sends no credentials to another
// port.
func TestCredentialsDoNotFollowARedirectOfTheManifest(t *testing.T) {
	library.RouteLogs(func(string, ...any) {})
	var leaked atomic.Bool
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		leaked.Store(leaked.Load() || r.Header.Get("Authorization") != "")
	}))
	defer elsewhere.Close()
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, _, ok := r.BasicAuth(); !ok {
			w.Header().Set("WWW-Authenticate", `Basic realm="r"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		http.Redirect(w, r, elsewhere.URL+r.URL.Path, http.StatusTemporaryRedirect)
	}))
	defer registry.Close()
	host := strings.TrimPrefix(registry.URL, "http://")
	auths := filepath.Join(t.TempDir(), "auth.json")
	t.Setenv("REGISTRY_AUTH_FILE", auths)
	if err := os.WriteFile(auths, fmt.Appendf(nil, `{"auths": {%q: {"auth": "dXNlcjpzZWNyZXQ="}}}`, host), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(context.Background(), Image{Name: host + "/some/image", Pinned: digestOf([]byte("manifest"))})
	if err == nil {
		t.Error("an empty manifest was taken")
	}
	if leaked.Load() {
		t.Error("the credentials were sent to another port")
	}
	if class, _ := Classify(err); class != retry.Final {
		t.Error("such a redirect is tried again")
	}
}

// TestCredentialsStayAtTheirOrigin redirects a request from https://a.example: the scheme, host and port decide.
func TestCredentialsStayAtTheirOrigin(t *testing.T) {
	for to, same := range map[string]bool{
		"https://a.example/b":     true,
		"https://A.example:443/b": true,
		"https://a.example:444/b": false,
		"http://a.example:443/b":  false,
		"http://a.example/b":      false,
		"https://b.example/b":     false,
		"https://b.a.example/b":   false,
	} {
		first := httptest.NewRequest(http.MethodGet, "https://a.example/a", nil)
		next := httptest.NewRequest(http.MethodGet, to, nil)
		next.Header.Set("Authorization", "Bearer x")
		next.Header.Set("Cookie", "x=y")
		if err := checkRedirect(next, []*http.Request{first}); err != nil {
			t.Errorf("%s: %v", to, err)
		}
		if got := len(next.Header); got != map[bool]int{true: 2, false: 0}[same] {
			t.Errorf("%s: it gets %v", to, next.Header)
		}
		form := httptest.NewRequest(http.MethodPost, to, strings.NewReader("password=pw"))
		form.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if err := checkRedirect(form, []*http.Request{first}); (err == nil) != same {
			t.Errorf("%s: a form: %v", to, err)
		}
	}
}

// TestFormsAreNotRedirected checks that a password or refresh token in a token request is sent to no other origin, whatever the
// status of the redirect.
func TestFormsAreNotRedirected(t *testing.T) {
	for status, origin := range map[int]string{307: "https://other.example", 308: "http://auth.example"} {
		var got []string
		c := &http.Client{CheckRedirect: checkRedirect, Transport: roundTrip(func(req *http.Request) (*http.Response, error) {
			got = append(got, req.URL.Host)
			w := httptest.NewRecorder()
			w.Header().Set("Location", origin+"/token")
			w.WriteHeader(status)
			return w.Result(), nil
		})}
		resp, err := c.Post("https://auth.example/token", "application/x-www-form-urlencoded", strings.NewReader("password=pw"))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if len(got) != 1 {
			t.Errorf("%d to %s: asked %q", status, origin, got)
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
