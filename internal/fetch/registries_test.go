package fetch

import (
	"fmt"
	"strings"
	"testing"

	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

// mirrored returns a registries.conf in which the origin has mirrors, in this order.
func mirrored(origin string, mirrors ...string) string {
	conf := fmt.Sprintf("[[registry]]\nlocation = %q\ninsecure = true\n", origin)
	for _, m := range mirrors {
		conf += fmt.Sprintf("[[registry.mirror]]\nlocation = %q\ninsecure = true\n", m)
	}
	return conf
}

// TestMirrors checks where an image is fetched from if its registry has a mirror.
func TestMirrors(t *testing.T) {
	t.Parallel()
	layer := registry.Blob(string(layered.Layers[0].Digest))
	for name, c := range map[string]struct {
		spoil   func(mirror *registry.Faults)
		mirrors bool // the layer comes from the mirror
		origin  bool // the layer comes from the origin
	}{
		"good":       {func(*registry.Faults) {}, true, false},
		"down":       {func(m *registry.Faults) { m.On(registry.Any(""), registry.Reset()) }, false, true},
		"no image":   {func(m *registry.Faults) { m.On(registry.Get("/manifests/"), registry.Status(404, "")) }, false, true},
		"no login":   {func(m *registry.Faults) { m.On(registry.Get("/manifests/"), registry.Status(401, "")) }, false, true},
		"in trouble": {func(m *registry.Faults) { m.On(registry.Any(""), registry.Status(503, "")) }, false, true},
		"dies later": {func(m *registry.Faults) {
			m.On(layer, registry.Truncate(40_000))
			m.On(registry.Any("").From(6), registry.Reset())
		}, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			origin, image := serve(t, layered)
			mirror := sharedRegistry(t).Faults(t)
			c.spoil(mirror)
			w := newWorld(t).alone()
			w.config(".config/containers/registries.conf", mirrored(origin.Addr, mirror.Addr))
			it := itemOf(layered, image)
			it.Image.TLSVerify = true // registries.conf says insecure
			w.images(it).ok()
			w.has(layered)
			if got := len(mirror.Matching(layer)) > 0; got != c.mirrors {
				t.Errorf("the mirror was asked for the layer: %t", got)
			}
			if got := len(origin.Matching(layer)) > 0; got != c.origin {
				t.Errorf("the origin was asked for the layer: %t", got)
			}
		})
	}
}

// TestMirrorsCredentials checks that each location gets only its own login.
func TestMirrorsCredentials(t *testing.T) {
	t.Parallel()
	reg := registry.Start(t, registry.Basic(user, password))
	layered.Push(t, reg.URL, "a/b", images.Via(reg.Client()))
	origin, mirror := reg.Faults(t), registry.NewFaults(t, nil)
	w := newWorld(t).alone()
	w.secrets = secretsOf(user, password)
	w.config(".config/containers/registries.conf", mirrored(origin.Addr, mirror.Addr))
	w.config("run/containers/auth.json", login(origin.Addr, user, password))
	it := itemOf(layered, origin.Addr+"/a/b")
	w.images(it).ok()
	for _, r := range mirror.Requests() {
		if r.Authorization != "" {
			t.Errorf("the mirror got %q", r.Authorization)
		}
	}
}

// TestRegistriesConf pairs configurations with errors.
func TestRegistriesConf(t *testing.T) {
	t.Parallel()
	const addr = "registry.example"
	empty := registry.NewFaults(t, nil)
	empty.On(registry.Get("^/v2/$"), registry.Status(200, ""))
	empty.On(registry.Get("/manifests/"), registry.Status(404, ""))
	gone := empty.Addr
	name := addr + "/a/b"
	pinned := name + "@" + string(layered.Digest)
	for title, c := range map[string]struct{ conf, want string }{
		"blocked": {
			"[[registry]]\nlocation = \"" + addr + "\"\nblocked = true\n",
			pinned + ": registry registry.example is blocked in <home>/.config/containers/registries.conf or <home>/.config/containers/registries.conf.d",
		},
		"no TOML": {
			"[[registry]\n", pinned + ": read <home>/.config/containers/registries.conf: toml: line 2: expected end of table array name delimiter ']', but got '\\n' instead",
		},
		"mirror and origin without it": {
			fmt.Sprintf("[[registry]]\nprefix = %q\n", addr) + strings.TrimPrefix(mirrored(gone+"/origin", gone+"/mirror"), "[[registry]]\n"),
			fmt.Sprintf("%s: %s/origin/a/b: read manifest: 404 Not Found (also asked: %[2]s/mirror/a/b: read manifest: 404 Not Found)\n"+
				"check the name and whether the registry still has this digest", pinned, gone),
		},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t).alone()
			w.config(".config/containers/registries.conf", c.conf)
			w.images(itemOf(layered, name)).failed(c.want, "<home>", w.home)
			w.nothing()
		})
	}
}
