package fetch

import (
	"net/http"
	"strings"
	"testing"

	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

// TestCredentialsAreNotEchoed checks that no message contains credentials echoed by a registry, in whole or in part, or a key in
// the URL of a redirect.
func TestCredentialsAreNotEchoed(t *testing.T) {
	t.Parallel()
	reg := registry.Start(t, registry.Basic(user, password))
	layered.Push(t, reg.URL, "a/b", images.Via(reg.Client()))
	says := func(status int, format string) registry.Fault {
		return registry.Handle(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, value, _ := strings.Cut(r.Header.Get("Authorization"), " ")
			text := strings.NewReplacer("VALUE", value, "USER", user, "PASSWORD", password).Replace(format)
			registry.Error(status, "UNKNOWN", text)(nil).ServeHTTP(w, r)
		}))
	}
	to := func(location string) registry.Fault { return registry.Status(307, "", "Location", location) }
	for name, fault := range map[string]registry.Fault{
		"the header, 400":       says(400, "bad request: Authorization: Basic VALUE"),
		"the value, 403":        says(403, "cannot parse <VALUE>"),
		"the value, 404":        says(404, "cannot parse <VALUE>"),
		"the value, 401":        says(401, "cannot parse <VALUE>"),
		"the value, 500":        says(500, "cannot parse <VALUE>"),
		"user and password":     says(418, "user USER with PASSWORD is locked"),
		"a path":                to("http://127.0.0.1:1/" + password + "/x"),
		"any query":             to("http://127.0.0.1:1/x?verify=1-" + password),
		"what is not a URL":     to("http://127.0.0.1:x/" + password),
		"a user and a password": to("http://joe:" + password + "@127.0.0.1:1/x"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := reg.Faults(t)
			f.On(registry.Blob(string(layered.Layers[0].Digest)), fault)
			w := newWorld(t).alone()
			w.options.Retries = 0
			w.secrets = append(secretsOf(user, password), password)
			w.config("run/containers/auth.json", login(f.Addr, user, password))
			if out := w.images(itemOf(layered, f.Addr+"/a/b")); out.Results[0].Success {
				t.Error("the item is there")
			}
		})
	}
}
