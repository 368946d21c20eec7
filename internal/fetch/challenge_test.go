package fetch

import (
	"strings"
	"testing"
	"time"

	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

// TestChallengeOfTheRepository checks that credentials are sent if only the repository, not the registry, asks for them.
func TestChallengeOfTheRepository(t *testing.T) {
	t.Parallel()
	list := images.NewList(images.Of(layered))
	for kind, auth := range map[string]registry.Option{
		"basic": registry.Basic(user, password),
		"token": registry.Token(user, password, time.Minute),
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			reg := registry.Start(t, auth)
			list.Push(t, reg.URL, "a/b", images.Via(reg.Client()))
			f := reg.Faults(t)
			f.On(registry.Get("^/v2/$"), registry.Status(200, "{}"))
			name := f.Addr + "/a/b"
			w := newWorld(t).alone()
			w.secrets = secretsOf(user, password)
			w.config("run/containers/auth.json", login(f.Addr, user, password))
			w.images(via(list, layered, name)).ok()
			w.has(layered)
			w.lists(listOf(list, name)).ok()
			if n := len(f.Matching(registry.Get("^/v2/$"))); n != 4 { // twice for each source
				t.Errorf("the registry was contacted %d times", n)
			}
		})
	}
}

// TestChallengeOfAnotherHost checks that a host named by the registry or a manifest cannot request the registry's credentials,
// and that its refusal is not reported as the registry's.
func TestChallengeOfAnotherHost(t *testing.T) {
	t.Parallel()
	for kind, challenge := range map[string]string{"basic": `Basic realm="x"`, "token": `Bearer realm="<url>/token",service="x"`} {
		for way, foreign := range map[string]bool{"foreign layer": true, "redirect": false} {
			t.Run(kind+", "+way, func(t *testing.T) {
				t.Parallel()
				elsewhere := registry.NewCatcher(t)
				elsewhere.On(registry.Any(""), registry.Error(401, "UNAUTHORIZED", "who are you",
					"WWW-Authenticate", strings.ReplaceAll(challenge, "<url>", elsewhere.URL)))
				layer := images.Layer(50_000)
				if foreign {
					layer = images.Foreign(50_000, elsewhere.URL+"/foreign/one?key="+password)
				}
				img := images.New(layer)
				f, name := serve(t, img)
				if !foreign {
					f.On(registry.Blob(string(img.Layers[0].Digest)), registry.Status(307, "", "Location", elsewhere.URL+"/x?key="+password))
				}
				w := newWorld(t).alone()
				w.options.Retries = 1
				w.secrets = secretsOf(user, password)
				w.config("run/containers/auth.json", login(f.Addr, user, password))
				got := w.images(itemOf(img, name)).Results[0].Error
				if !strings.Contains(got, elsewhere.Addr) || !strings.Contains(got, "401 Unauthorized: who are you") || strings.Contains(got, "log in") {
					t.Errorf("the error is %s", got)
				}
				for _, r := range elsewhere.Requests() {
					if r.Authorization != "" || strings.HasPrefix(r.Path, "/token") {
						t.Errorf("it got %s with %q", r.Path, r.Authorization)
					}
				}
			})
		}
	}
}
