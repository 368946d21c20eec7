package image

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// The library follows a redirect of the manifest before its client can be hooked: credentials
// must not get to another port even then.
func TestCredentialsDoNotFollowARedirectOfTheManifest(t *testing.T) {
	RouteLogs(func(string, ...any) {})
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
	target := Target{Pinned: digestOf([]byte("manifest"))}
	target.Name = host + "/some/image"
	_, err := Open(context.Background(), target)
	var leak *leakError
	if !errors.As(err, &leak) {
		t.Errorf("open gives %v, want a refusal of the redirect", err)
	}
	if leaked.Load() {
		t.Error("the credentials were sent to another port")
	}
	if class, _ := Classify(err); class != Final {
		t.Error("such a redirect is tried again")
	}
}
