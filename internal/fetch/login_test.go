package fetch

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

const (
	user     = "ann"
	password = "s3cr3t-p4ssword"
)

// login returns the content of an auth.json for a registry or one of its repositories.
func login(where, user, password string) string {
	return fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, where, base64.StdEncoding.EncodeToString([]byte(user+":"+password)))
}

// secretsOf returns the forms in which the credentials could leak.
func secretsOf(user, password string) []string {
	return []string{password, base64.StdEncoding.EncodeToString([]byte(user + ":" + password)), "eyJ"} // how a token begins
}

// helper is a credential helper with one login.
const helper = `#!/bin/sh
read -r server
[ "$1 $server" = "get %s" ] || { echo "credentials not found in native keychain"; exit 1; }
echo '{"ServerURL": "%[1]s", "Username": "%[2]s", "Secret": "%[3]s"}'
`

func (w *world) helper(name, server, user, secret string) {
	w.config("bin/docker-credential-"+name, fmt.Sprintf(helper, server, user, secret))
	must(os.Chmod(filepath.Join(w.home, "bin/docker-credential-"+name), 0o755))
}

// TestLogin tries each place in which the credentials of a registry may be stored.
func TestLogin(t *testing.T) {
	t.Parallel()
	for kind, auth := range map[string]registry.Option{
		"basic": registry.Basic(user, password),
		"token": registry.Token(user, password, time.Minute),
	} {
		reg := registry.Start(t, auth)
		layered.Push(t, reg.URL, "a/b", images.Via(reg.Client()))
		f := reg.Faults(t)
		name := f.Addr + "/a/b"
		good := login(f.Addr, user, password)
		for place, give := range map[string]func(w *world){
			"REGISTRY_AUTH_FILE": func(w *world) {
				w.config("elsewhere.json", good)
				w.env = append(w.env, "REGISTRY_AUTH_FILE="+filepath.Join(w.home, "elsewhere.json"))
			},
			"DOCKER_CONFIG": func(w *world) {
				w.config("docker/config.json", good)
				w.env = append(w.env, "DOCKER_CONFIG="+filepath.Join(w.home, "docker"))
			},
			"REGISTRY_AUTH_FILE before DOCKER_CONFIG": func(w *world) {
				w.config("elsewhere.json", good)
				w.config("docker/config.json", login(f.Addr, user, "wrong"))
				w.env = append(w.env, "REGISTRY_AUTH_FILE="+filepath.Join(w.home, "elsewhere.json"), "DOCKER_CONFIG="+filepath.Join(w.home, "docker"))
			},
			"DOCKER_CONFIG before others": func(w *world) {
				w.config("docker/config.json", good)
				w.config("run/containers/auth.json", login(f.Addr, user, "wrong"))
				w.env = append(w.env, "DOCKER_CONFIG="+filepath.Join(w.home, "docker"))
			},
			"XDG_RUNTIME_DIR":    func(w *world) { w.config("run/containers/auth.json", good) },
			"~/.config":          func(w *world) { w.config(".config/containers/auth.json", good) },
			"~/.docker":          func(w *world) { w.config(".docker/config.json", good) },
			"for the repository": func(w *world) { w.config("run/containers/auth.json", login(name, user, password)) },
			"for the namespace":  func(w *world) { w.config("run/containers/auth.json", login(f.Addr+"/a", user, password)) },
			"helper for the registry": func(w *world) {
				w.config(".docker/config.json", fmt.Sprintf(`{"credHelpers": {%q: "one"}}`, f.Addr))
				w.helper("one", f.Addr, user, password)
			},
			"helper in registries.conf": func(w *world) {
				w.config(".config/containers/registries.conf", `credential-helpers = ["two"]`)
				w.helper("two", f.Addr, user, password)
			},
		} {
			t.Run(kind+", "+place, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t).alone()
				w.secrets = secretsOf(user, password)
				give(w)
				w.images(itemOf(layered, name)).ok()
				w.has(layered)
			})
		}
	}
}

// TestIdentityToken checks that a refresh token (docker's identity token) can replace a password.
func TestIdentityToken(t *testing.T) {
	t.Parallel()
	reg := registry.Start(t, registry.Token(user, password, time.Minute))
	layered.Push(t, reg.URL, "a/b", images.Via(reg.Client()))
	w := newWorld(t).alone()
	w.secrets = append(secretsOf(user, password), reg.Token.RefreshToken)
	w.config("run/containers/auth.json", fmt.Sprintf(`{"auths": {%q: {"auth": %q, "identitytoken": %q}}}`,
		reg.Addr, base64.StdEncoding.EncodeToString([]byte("00000000-0000-0000-0000-000000000000:")), reg.Token.RefreshToken))
	w.images(itemOf(layered, reg.Addr+"/a/b")).ok()
	w.has(layered)
}

// TestAnonymousToken checks that a registry with tokens for everyone needs no login.
func TestAnonymousToken(t *testing.T) {
	t.Parallel()
	reg := registry.Start(t, registry.Token("", "", time.Minute))
	layered.Push(t, reg.URL, "a/b", images.Via(reg.Client()))
	w := newWorld(t)
	w.images(itemOf(layered, reg.Addr+"/a/b")).ok()
	if n := reg.Token.Issued(); n != 1 {
		t.Errorf("%d tokens were issued, want 1 for all", n)
	}
}

// TestLoginRefused checks the error for a wrong login, and that it is tried only once.
func TestLoginRefused(t *testing.T) {
	t.Parallel()
	const hint = "\nlog in (podman login, REGISTRY_AUTH_FILE) or check that the account may read this repository"
	const sent = ` (credentials were sent: auths "<addr>" in <home>/run/containers/auth.json)`
	const none = ` (no credentials were sent: <home>/run/containers/auth.json has none for <addr>/a/b)`
	for name, c := range map[string]struct {
		auth    registry.Option
		content string
		want    string
	}{
		"basic, wrong": {registry.Basic(user, password), login("<addr>", user, "wr0ng-password"), "read manifest: authentication required" + sent + hint},
		"basic, none":  {registry.Basic(user, password), "{}", "read manifest: authentication required" + none + hint},
		"token, wrong": {
			registry.Token(user, password, time.Minute), login("<addr>", user, "wr0ng-password"),
			"no token was given: unauthorized: incorrect username or password" + sent + hint,
		},
		"token, none": {registry.Token(user, password, time.Minute), "{}", "no token was given: unauthorized: incorrect username or password" + none + hint},
		"identity token, wrong": {
			registry.Token(user, password, time.Minute), `{"auths": {"<addr>": {"auth": "MDow", "identitytoken": "wr0ng-password"}}}`,
			"no token was given: unauthorized: incorrect username or password" + sent + hint,
		},
		"file no JSON": {
			registry.Basic(user, password), `{"auths": {"<addr>": "wr0ng-password`,
			"read credentials: <home>/run/containers/auth.json: unexpected end of JSON input\ncorrect that, or log in again (podman login)",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reg := registry.Start(t, c.auth)
			layered.Push(t, reg.URL, "a/b", images.Via(reg.Client()))
			f := reg.Faults(t)
			w := newWorld(t).alone()
			w.secrets = append(secretsOf(user, password), secretsOf(user, "wr0ng-password")...)
			w.config("run/containers/auth.json", strings.ReplaceAll(c.content, "<addr>", f.Addr))
			image := f.Addr + "/a/b"
			out := w.images(itemOf(layered, image)).failed("<name>: "+c.want, "<name>", image+"@"+string(layered.Digest), "<home>", w.home, "<addr>", f.Addr)
			w.nothing()
			if n := len(f.Matching(registry.Get("/manifests/"))); n > 1 || out.Results[0].Metadata.Attempts != 1 {
				t.Errorf("the manifest was asked for %d times, in %d attempts", n, out.Results[0].Metadata.Attempts)
			}
			if reg.Token != nil {
				if n := len(reg.Token.Requests()); n != 1 {
					t.Errorf("a token was asked for %d times, want once", n)
				}
			}
		})
	}
}

// TestTokenExpires checks that an expired token is replaced, by one token for all blobs.
func TestTokenExpires(t *testing.T) {
	t.Parallel()
	reg := registry.Start(t, registry.Token(user, password, 4*time.Second))
	img := images.New(images.Layer(2000), images.Layer(3000), images.Layer(4000))
	img.Push(t, reg.URL, "a/b", images.Via(reg.Client()))
	f := reg.Faults(t)
	f.On(registry.Get("/blobs/").First(4), registry.Delay(5500*time.Millisecond))
	w := newWorld(t).alone()
	w.secrets = secretsOf(user, password)
	w.config("run/containers/auth.json", login(f.Addr, user, password))
	w.images(itemOf(img, f.Addr+"/a/b")).ok()
	w.has(img)
	if n := reg.Token.Issued(); n != 2 {
		t.Errorf("%d tokens were issued, want 2", n)
	}
}

// TestFreshTokenIsWaitedFor checks that a failing token server is retried like a registry.
func TestFreshTokenIsWaitedFor(t *testing.T) {
	t.Parallel()
	reg := registry.Start(t, registry.Token(user, password, time.Minute))
	layered.Push(t, reg.URL, "a/b", images.Via(reg.Client()))
	f := reg.Faults(t)
	f.On(registry.Blob(string(layered.Layers[0].Digest)).First(2), registry.Status(401, ""))
	reg.Token.On(registry.Any("/token").Nth(1), registry.Status(503, "<html>"))
	reg.Token.On(registry.Any("/token").Nth(3), registry.Status(502, ""))
	w := newWorld(t).alone()
	w.secrets = secretsOf(user, password)
	w.config("run/containers/auth.json", login(f.Addr, user, password))
	w.images(itemOf(layered, f.Addr+"/a/b")).ok().says("request a token: 503 Service Unavailable")
	w.has(layered)
}
