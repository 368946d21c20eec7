package fetch

import (
	"fmt"
	"testing"
	"time"

	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

// TestRedirects checks that blobs may be stored elsewhere, and that credentials are sent neither to another host nor to another
// port.
func TestRedirects(t *testing.T) {
	t.Parallel()
	layer := layered.Layers[0]
	for kind, auth := range map[string]registry.Option{
		"basic": registry.Basic(user, password),
		"token": registry.Token(user, password, time.Minute),
	} {
		for where, base := range map[string]func(*registry.Catcher) string{
			"port": func(c *registry.Catcher) string { return c.URL },
			"host": func(c *registry.Catcher) string { return c.LocalhostURL() },
		} {
			t.Run(kind+", another "+where, func(t *testing.T) {
				t.Parallel()
				reg := registry.Start(t, auth)
				layered.Push(t, reg.URL, "a/b", images.Via(reg.Client()))
				f := reg.Faults(t)
				elsewhere := registry.NewCatcher(t)
				elsewhere.Serve(string(layer.Digest), layer.Blob)
				elsewhere.On(registry.Any("").First(1), registry.Truncate(30_000))
				f.On(registry.Blob(string(layer.Digest)), registry.Redirect(base(elsewhere)))
				w := newWorld(t).alone()
				w.secrets = secretsOf(user, password)
				w.config("run/containers/auth.json", login(f.Addr, user, password))
				w.images(itemOf(layered, f.Addr+"/a/b")).ok()
				w.has(layered)
				ranges(t, asked(elsewhere.Faults, layer.Digest), "-", "bytes=30000-")
				for _, r := range elsewhere.Requests() {
					if r.Authorization != "" || r.Header.Get("Cookie") != "" {
						t.Errorf("credentials were sent along: %q %q", r.Authorization, r.Header.Get("Cookie"))
					}
				}
			})
		}
	}
}

// TestRedirectWithinTheRegistry checks that a redirect to the same origin keeps the credentials.
func TestRedirectWithinTheRegistry(t *testing.T) {
	t.Parallel()
	reg := registry.Start(t, registry.Basic(user, password))
	layered.Push(t, reg.URL, "a/b", images.Via(reg.Client()))
	layered.Push(t, reg.URL, "c/d", images.Via(reg.Client()))
	f := reg.Faults(t)
	path := "/blobs/" + string(layered.Layers[0].Digest)
	f.On(registry.Get("/a/b"+path), registry.Status(307, "", "Location", "/v2/c/d"+path))
	w := newWorld(t).alone()
	w.secrets = secretsOf(user, password)
	w.config("run/containers/auth.json", login(f.Addr, user, password))
	w.images(itemOf(layered, f.Addr+"/a/b")).ok()
	w.has(layered)
}

// TestRedirectThatFails checks that the URL of an object store, which is a secret, is not shown in full.
func TestRedirectThatFails(t *testing.T) {
	t.Parallel()
	f, name := serve(t, layered)
	dead, _ := closedPort(t)
	f.On(registry.Blob(string(layered.Layers[0].Digest)), registry.Status(307, "",
		"Location", "http://me:"+password+"@"+dead+"/x?X-Amz-Signature="+password+"&Expires=1&token="+password+"&X-Amz-Credential="+password))
	w := newWorld(t)
	w.secrets = secretsOf("me", password)
	w.options.Retries = 1
	w.images(itemOf(layered, name)).failed("<name>: blob <layer>: redirected to <dead>: "+
		"dial tcp <dead>: connect: connection refused (gave up after 2 tries)\ncheck that the registry runs and that this machine can reach it",
		"<name>", name+"@"+string(layered.Digest), "<layer>", string(layered.Layers[0].Digest), "<dead>", dead)
}

// TestForeignLayers checks that layers with URLs are fetched from these, without credentials and with the same guarantees as other
// layers.
func TestForeignLayers(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		faults map[registry.Match]registry.Fault
		asked  []string
		want   string
	}{
		"good":    {nil, []string{"-"}, ""},
		"cut off": {map[registry.Match]registry.Fault{registry.Any("").First(1): registry.Truncate(30_000)}, []string{"-", "bytes=30000-"}, ""},
		"busy":    {map[registry.Match]registry.Fault{registry.Any("").First(1): registry.Status(503, "")}, []string{"-", "-"}, ""},
		"elsewhere, no ranges": {
			map[registry.Match]registry.Fault{registry.Any("").First(1): registry.Truncate(30_000), registry.Any("").From(2): registry.IgnoreRange()},
			[]string{"-", "bytes=30000-"},
			"",
		},
		"gone": {
			map[registry.Match]registry.Fault{registry.Any(""): registry.Status(404, "")},
			[]string{"-"},
			`<name>: blob <layer>: failed fetching external blob from all urls: Get "<url>": 404 Not Found` +
				"\n<host> says that, not the registry: check that host and, where a URL has expired, the clocks of both",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			elsewhere := registry.NewCatcher(t)
			url := elsewhere.URL + "/foreign/one?x=y"
			img := images.New(images.Foreign(50_000, url), images.Layer(100))
			elsewhere.Serve("/foreign/one", img.Layers[0].Blob)
			for match, fault := range c.faults {
				elsewhere.On(match, fault)
			}
			reg := registry.Start(t, registry.Basic(user, password))
			img.Push(t, reg.URL, "a/b", images.Via(reg.Client()))
			w := newWorld(t).alone()
			w.secrets = secretsOf(user, password)
			w.config("run/containers/auth.json", login(reg.Addr, user, password))
			out := w.images(itemOf(img, reg.Addr+"/a/b"))
			var got []string
			for _, r := range elsewhere.Requests() {
				if r.Range == "" {
					r.Range = "-"
				}
				got = append(got, r.Range)
				if r.Authorization != "" {
					t.Errorf("credentials were sent along: %q", r.Authorization)
				}
			}
			ranges(t, got, c.asked...)
			if c.want != "" {
				out.failed(c.want, "<name>", reg.Addr+"/a/b@"+string(img.Digest), "<layer>", string(img.Layers[0].Digest),
					"<url>", elsewhere.URL+"/foreign/one", "<host>", elsewhere.Addr) // the query may be a secret
				return
			}
			out.ok()
			w.has(img)
		})
	}
}

// TestForeignLayerInTheRegistry checks that URLs with a scheme other than http or https are ignored.
func TestForeignLayerInTheRegistry(t *testing.T) {
	t.Parallel()
	blob := images.New(images.Layer(500)).Layers[0]
	blob.URLs = []string{"ftp://nowhere.example/x"}
	img := images.New(images.Use(blob))
	f := registry.NewFaults(t, img.Handler())
	w := newWorld(t)
	w.images(itemOf(img, f.Addr+"/a/b")).ok()
	w.has(img)
}

// TestProxy checks that the environment's proxies are used, with the credentials in their URLs.
func TestProxy(t *testing.T) {
	t.Parallel()
	const name = "registry.example/a/b" // a name that only the proxy knows
	for variable, good := range map[string]bool{"HTTP_PROXY": true, "http_proxy": true, "NO_PROXY": false} {
		t.Run(variable, func(t *testing.T) {
			t.Parallel()
			proxy := registry.NewFaults(t, layered.Handler())
			url := fmt.Sprintf("http://%s:%s@%s", user, password, proxy.Addr)
			w := newWorld(t).alone()
			w.secrets = secretsOf(user, password)
			w.env = []string{"HTTPS_PROXY=" + url, variable + "=" + url}
			if !good {
				w.env = []string{"HTTPS_PROXY=" + url, "HTTP_PROXY=" + url, "NO_PROXY=registry.example"}
				w.options.Retries = 0
			}
			out := w.images(itemOf(layered, name))
			if !good {
				if n := len(proxy.Requests()); n != 0 || out.Results[0].Success {
					t.Errorf("%d requests came to the proxy", n)
				}
				return
			}
			out.ok()
			w.has(layered)
			for _, r := range proxy.Requests() {
				if r.Header.Get("Proxy-Authorization") == "" || r.Authorization != "" || r.Host[:16] != "registry.example" {
					t.Errorf("the proxy got %+v", r)
				}
			}
		})
	}
}

// TestProxyThatRefuses checks that a proxy's password appears in no message.
func TestProxyThatRefuses(t *testing.T) {
	t.Parallel()
	proxy := registry.NewFaults(t, nil)
	proxy.On(registry.Any(""), registry.Status(407, "who are you?"))
	url := fmt.Sprintf("http://%s:%s@%s", user, password, proxy.Addr)
	w := newWorld(t).alone("HTTPS_PROXY="+url, "HTTP_PROXY="+url)
	w.secrets = secretsOf(user, password)
	it := itemOf(layered, "registry.example/a/b")
	const hint = "\nput the proxy's user name and password into the URL in HTTP_PROXY and HTTPS_PROXY"
	w.images(it).failed("<name>: 407 Proxy Authentication Required: \"who are you?\""+hint, "<name>", it.Image.Name+"@"+string(layered.Digest))
	it.Image.TLSVerify = true
	w.images(it).failed(`<name>: Get "https://registry.example/v2/": Proxy Authentication Required`+hint, "<name>", it.Image.Name+"@"+string(layered.Digest))
}
