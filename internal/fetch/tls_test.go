package fetch

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"osbuild-containers/test/registry"
)

// TestCertificates pairs configurations of certificates with results.
func TestCertificates(t *testing.T) {
	t.Parallel()
	const noCA = "tls: failed to verify certificate: x509: certificate signed by unknown authority\nadd the CA to certs.d as a .crt file, or use tls-verify: false; intermediate certificates are for the registry to send"
	other := strings.Replace(noCA, "\n", ` (possibly because of "x509: ECDSA verification failure" while trying to verify candidate authority certificate "test CA")`+"\n", 1)
	certs := func(w *world, f *registry.Faults) { must(f.PKI.WriteClient(w.certs(f))) }
	for name, c := range map[string]struct {
		server registry.Option
		verify bool
		config func(w *world, f *registry.Faults)
		want   string // "" is success
	}{
		"CA in certs.d": {server: registry.TLS(), verify: true, config: certs},
		"an unknown CA": {server: registry.TLS(), verify: true, want: noCA},
		"another CA": {server: registry.TLS(), verify: true, want: other, config: func(w *world, f *registry.Faults) {
			must(registry.NewFaults(t, nil, registry.TLS()).PKI.WriteClient(w.certs(f)))
		}},
		"not to be verified": {server: registry.TLS(), verify: false},
		"insecure in registries.conf": {server: registry.TLS(), verify: true, config: func(w *world, f *registry.Faults) {
			w.config(".config/containers/registries.conf", "[[registry]]\nlocation = \""+f.Addr+"\"\ninsecure = true\n")
		}},
		"CA of the host system": {server: registry.TLS(), verify: true, config: func(w *world, f *registry.Faults) {
			w.config("ca.pem", string(f.PKI.CA))
			w.env = append(w.env, "SSL_CERT_FILE="+filepath.Join(w.home, "ca.pem"))
		}},
		"client certificate":                     {server: registry.ClientCerts(), verify: true, config: certs},
		"client certificate, not to be verified": {server: registry.ClientCerts(), verify: false, config: certs},
		"no client certificate": {
			server: registry.ClientCerts(), verify: true, config: func(w *world, f *registry.Faults) {
				put(filepath.Join(w.certs(f), "ca.crt"), string(f.PKI.CA))
			},
			want: "remote error: tls: certificate required\nthe registry wants another client certificate: check the one in certs.d",
		},
		"client certificate without key": {
			server: registry.ClientCerts(), verify: true, config: func(w *world, f *registry.Faults) {
				put(filepath.Join(w.certs(f), "client.cert"), string(f.PKI.ClientCert))
			},
			want: "missing key client.key for client certificate client.cert. Note that CA certificates should use the extension .crt" +
				"\nboth must be in the registry's directory in certs.d",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := registry.NewFaults(t, layered.Handler(), c.server)
			w := newWorld(t).alone()
			if c.config != nil {
				c.config(w, f)
			}
			it := itemOf(layered, f.Addr+"/a/b")
			it.Image.TLSVerify = c.verify
			out := w.images(it)
			if c.want == "" {
				out.ok()
				w.has(layered)
				return
			}
			url := ""
			if c.want[0] != 'm' {
				url = `Get "https://` + f.Addr + `/v2/": `
			}
			out.failed("<name>: "+url+c.want, "<name>", it.Image.Name+"@"+string(layered.Digest))
			w.nothing()
		})
	}
}

// certs returns the world's directory for certificates of a server.
func (w *world) certs(f *registry.Faults) string {
	return filepath.Join(w.home, ".config/containers/certs.d", f.Addr)
}

// TestPlainHTTP checks that nothing is sent unencrypted unless allowed.
func TestPlainHTTP(t *testing.T) {
	t.Parallel()
	f, name := serve(t, layered)
	it := itemOf(layered, name)
	it.Image.TLSVerify = true
	w := newWorld(t).alone()
	w.images(it).failed(`<name>: Get "https://<addr>/v2/": http: server gave HTTP response to HTTPS client`+
		"\nthe registry speaks plain http: use tls-verify: false or mark it insecure in registries.conf",
		"<name>", name+"@"+string(layered.Digest), "<addr>", f.Addr)
	if n := len(f.Requests()); n != 0 {
		t.Errorf("%d requests were sent in the clear", n)
	}
	w.config(".config/containers/registries.conf", "[[registry]]\nlocation = \""+f.Addr+"\"\ninsecure = true\n")
	w.images(it).ok()
	w.has(layered)
}

// TestFirstContactInTrouble checks that a TLS server whose first answer is 503 is retried, even if the library then falls back to
// plain http.
func TestFirstContactInTrouble(t *testing.T) {
	t.Parallel()
	f := registry.NewFaults(t, layered.Handler(), registry.TLS())
	f.On(registry.Get("^/v2/$").First(2), registry.Status(503, ""))
	w := newWorld(t)
	w.images(itemOf(layered, f.Addr+"/a/b")).ok().says("open: attempt 2 of 4 failed")
	w.has(layered)
}

// TestPlainRealm checks that a registry with TLS cannot redirect its credentials to a token server without TLS unless it is
// insecure, wherever its challenge is.
func TestPlainRealm(t *testing.T) {
	t.Parallel()
	const want = "<name>: the token server <tokens> of the registry speaks plain http, want https: nothing was sent to it" +
		"\nhave the registry name an https realm, or accept that with tls-verify: false or insecure in registries.conf"
	for _, place := range []string{"/v2/", "/manifests/"} {
		for name, c := range map[string]struct {
			verify, conf bool
			want         string
		}{
			"to be verified":              {verify: true, want: want},
			"not to be verified":          {},
			"insecure in registries.conf": {verify: true, conf: true},
		} {
			t.Run(place+", "+name, func(t *testing.T) {
				t.Parallel()
				var asked atomic.Int32
				tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					asked.Add(1)
					_, _ = w.Write([]byte(`{"token": "a-token"}`))
				}))
				t.Cleanup(tokens.Close)
				content := layered.Handler()
				f := registry.NewFaults(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if strings.Contains(r.URL.Path, place) && r.Header.Get("Authorization") == "" && (place != "/v2/" || r.URL.Path == place) {
						w.Header().Set("WWW-Authenticate", `Bearer realm="`+tokens.URL+`/token",service="s"`)
						w.WriteHeader(http.StatusUnauthorized)
						return
					}
					content.ServeHTTP(w, r)
				}), registry.TLS())
				w := newWorld(t).alone()
				must(f.PKI.WriteClient(w.certs(f)))
				w.config("run/containers/auth.json", login(f.Addr, user, password))
				if c.conf {
					w.config(".config/containers/registries.conf", "[[registry]]\nlocation = \""+f.Addr+"\"\ninsecure = true\n")
				}
				it := itemOf(layered, f.Addr+"/a/b")
				it.Image.TLSVerify = c.verify
				out := w.images(it)
				if c.want == "" {
					out.ok()
					return
				}
				out.failed(c.want, "<name>", f.Addr+"/a/b@"+string(layered.Digest), "<tokens>", strings.TrimPrefix(tokens.URL, "http://"))
				if n := asked.Load(); n != 0 {
					t.Errorf("the token server was asked %d times", n)
				}
			})
		}
	}
}
