package registry

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containers/image/v5/pkg/docker/config"
	"github.com/containers/image/v5/types"
	"github.com/containers/storage/pkg/homedir"
	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"

	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/request"
)

const (
	registryKey = "registry.example"
	repository  = "registry.example/a/b"
)

// authOf returns the content of a credentials file.
func authOf(key, user string) string {
	return fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, key, base64.StdEncoding.EncodeToString([]byte(user+":pw")))
}

// homeOf writes the files to the home directory that all tests share, the only place with credentials.
func homeOf(t *testing.T, files map[string]string) string {
	t.Helper()
	home := homedir.Get()
	for _, dir := range []string{"login", ".docker", ".dockercfg"} {
		if err := os.RemoveAll(filepath.Join(home, dir)); err != nil {
			t.Fatal(err)
		}
	}
	for name, content := range files {
		path := filepath.Join(home, name)
		if content == aDirectory {
			path = filepath.Join(path, "x")
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("XDG_RUNTIME_DIR", filepath.Join(home, "login/run"))
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(home, "login/conf"))
	t.Cleanup(func() {
		_ = os.RemoveAll(filepath.Join(home, ".docker"))
		_ = os.RemoveAll(filepath.Join(home, ".dockercfg"))
	})
	return home
}

// aDirectory stands for a file that even root cannot read.
const aDirectory = "DIRECTORY"

// TestFindLoginLikeTheLibrary checks that the credentials found are those that the library finds.
func TestFindLoginLikeTheLibrary(t *testing.T) {
	one := func(path string) map[string]string { return map[string]string{path: authOf(registryKey, path)} }
	legacy := strings.TrimSuffix(strings.TrimPrefix(authOf("https://registry.example/v1/", "legacy"), `{"auths": `), "}")
	for name, files := range map[string]map[string]string{
		"none":       {},
		"runtime":    one("login/run/containers/auth.json"),
		"config":     one("login/conf/containers/auth.json"),
		"docker":     one(".docker/config.json"),
		"legacy":     {".dockercfg": legacy},
		"repository": {"login/run/containers/auth.json": authOf(repository, "x")},
		"namespace":  {"login/run/containers/auth.json": authOf(registryKey+"/a", "x")},
		"URL":        {".docker/config.json": authOf("https://registry.example/v2/", "x")},
		"order": {
			".dockercfg": legacy, ".docker/config.json": authOf(registryKey, "docker"),
			"login/conf/containers/auth.json": authOf(registryKey, "config"), "login/run/containers/auth.json": authOf("other.example", "x"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			home := homeOf(t, files)
			sys := systemContext(request.Access{TLSVerify: true})
			for _, key := range []string{registryKey, repository} {
				want, err := config.GetCredentials(sys, key)
				if err != nil {
					t.Fatal(err)
				}
				got, err := findLogin(sys, key)
				if err != nil || got.auth != want {
					t.Errorf("%s: got %+v, %v, want %+v", key, got, err, want)
				}
				if err == nil && want != (types.DockerAuthConfig{}) && !strings.Contains(got.from, " in "+home) {
					t.Errorf("%s: it is said to be from %q", key, got.from)
				}
			}
		})
	}
}

// TestLoginSaysWhere checks that an error of credentials, and a refusal, name the file and the entry.
func TestLoginSaysWhere(t *testing.T) {
	docker := ".docker/config.json"
	for name, c := range map[string]struct{ content, err, none string }{
		"absent":        {"", "", "none are configured"},
		"empty":         {"{}", "", "<file> has none for registry.example/a/b"},
		"another":       {authOf("other.example", "x"), "", "<file> has none for registry.example/a/b"},
		"no auth":       {`{"auths": {"registry.example": {"username": "x", "password": "y"}}}`, "", `auths "registry.example" in <file> has no "auth"`},
		"store":         {`{"auths": {"registry.example": {}}, "credsStore": "desktop"}`, "", `credsStore "desktop" in <file> is not used: put {"registry.example": "desktop"} into credHelpers`},
		"no JSON":       {"{", "read credentials: <file>: unexpected end of JSON input", ""},
		"no base64":     {`{"auths": {"registry.example": {"auth": "bWU6cHc"}}}`, `read credentials: <file>: auths "registry.example": illegal base64 data at input byte 4`, ""},
		"URL no base64": {`{"auths": {"https://registry.example/v2/": {"auth": "!"}}}`, `read credentials: <file>: auths "https://registry.example/v2/": illegal base64 data at input byte 0`, ""},
		"no helper": {
			`{"credHelpers": {"registry.example": "not-there"}}`,
			`read credentials: <file>: credHelpers "registry.example": exec: "docker-credential-not-there": executable file not found in $PATH`, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{docker: c.content}
			if c.content == "" {
				files = nil
			}
			home := homeOf(t, files)
			l, err := findLogin(systemContext(request.Access{TLSVerify: true}), repository)
			path := filepath.Join(home, docker)
			if err != nil {
				if got := strings.ReplaceAll(reword(err).Error(), path, "<file>"); got != c.err {
					t.Errorf("got  %s\nwant %s", got, c.err)
				}
				if Hint(err) == (hint.Hint{}) {
					t.Error("no hint")
				}
				return
			}
			if got := strings.ReplaceAll(l.none, path, "<file>"); got != c.none || c.err != "" {
				t.Errorf("got %q, want %q", got, c.none+c.err)
			}
		})
	}
}

// TestUnreadableLogin checks that an unreadable default file is skipped and logged once, and that one named explicitly is an error.
func TestUnreadableLogin(t *testing.T) {
	files := map[string]string{
		"login/run/containers/auth.json": aDirectory, "login/conf": "not a directory", ".docker/config.json": authOf(registryKey, "x"),
	}
	home := homeOf(t, files)
	hook := test.NewGlobal()
	defer logrus.StandardLogger().ReplaceHooks(logrus.LevelHooks{})
	for range 2 {
		l, err := findLogin(systemContext(request.Access{TLSVerify: true}), repository)
		if err != nil || l.auth.Username != "x" {
			t.Fatalf("got %+v, %v", l, err)
		}
	}
	var told []string
	for _, e := range hook.AllEntries() {
		if e.Level <= logrus.WarnLevel {
			told = append(told, e.Message)
		}
	}
	want := "read " + home + "/login/run/containers/auth.json: is a directory; continuing without it\n" +
		"open " + home + "/login/conf/containers/auth.json: not a directory; continuing without it"
	if got := strings.Join(told, "\n"); got != want {
		t.Errorf("told\n%s\nwant\n%s", got, want)
	}
	named := home + "/login/run/containers/auth.json"
	_, err := findLogin(systemContext(request.Access{AuthFile: named}), repository)
	if err == nil || err.Error() != "read credentials: "+named+": is a directory" {
		t.Errorf("a file that was named: %v", err)
	}
}

// TestNoLoginIsNoSecret checks that the colon that the library sends without credentials is not hidden as a secret.
func TestNoLoginIsNoSecret(t *testing.T) {
	for value, want := range map[string]bool{":": false, "ann:": true, ":secret-of-none": true} {
		req := httptest.NewRequest(http.MethodGet, "/", nil)
		req.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(value)))
		if got, err := hideCredentials(req); got != want || err != nil {
			t.Errorf("%q: got %v, %v", value, got, err)
		}
	}
	if text := "127.0.0.1:5000/a: read manifest: 401"; progress.Redact(text) != text {
		t.Errorf("got %q", progress.Redact(text))
	}
}
