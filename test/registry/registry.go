package registry

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/crypto/bcrypt"
)

// Registry is a running registry.
type Registry struct {
	URL   string       // "http://127.0.0.1:port" or https
	Addr  string       // "127.0.0.1:port", as an image name begins
	Root  string       // where its files are
	PKI   *PKI         // nil without TLS
	Token *TokenServer // nil without Token

	config *config
	proc   *process
	client *http.Client
}

// Start runs a registry until the test ends.
func Start(t testing.TB, opts ...Option) *Registry {
	t.Helper()
	r, err := Run(t.TempDir(), opts...)
	if err != nil {
		t.Fatalf("start test registry: %v", err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("stop test registry: %v", err)
		}
		if t.Failed() {
			t.Logf("log of registry %s:\n%s", r.Addr, r.Log())
		}
	})
	return r
}

// Run runs a registry with its data in dir, which is made, until it is closed.
func Run(dir string, opts ...Option) (*Registry, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	r := &Registry{Root: dir, config: newConfig(opts)}
	if err := r.start(); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func (r *Registry) start() error {
	bin, err := Binary()
	if err != nil {
		return err
	}
	cfg := map[string]any{
		"version": "0.1",
		"log":     map[string]any{"level": "info", "accesslog": map[string]any{"disabled": true}},
		"storage": map[string]any{
			"filesystem": map[string]any{"rootdirectory": filepath.Join(r.Root, "data")},
			"delete":     map[string]any{"enabled": true},
		},
		// Manifests are taken as they are: tests push strange ones.
		"validation": map[string]any{"disabled": !r.config.validating},
	}
	listen := map[string]any{"addr": "127.0.0.1:0", "relativeurls": true, "secret": "test"}
	cfg["http"] = listen
	scheme := "http"
	if r.config.tls {
		scheme = "https"
		if listen["tls"], err = r.setupTLS(); err != nil {
			return err
		}
	}
	if cfg["auth"], err = r.setupAuth(); err != nil {
		return err
	}
	if r.proc, err = startProcess(bin, r.Root, cfg); err != nil {
		return err
	}
	r.Addr = r.proc.addr
	r.URL = scheme + "://" + r.Addr
	r.client = &http.Client{Transport: r.authenticated(newTransport(r.PKI))}
	return nil
}

func (r *Registry) setupTLS() (map[string]any, error) {
	var err error
	if r.PKI, err = newPKI(r.config.clientCerts); err != nil {
		return nil, err
	}
	err = writeFiles(r.Root, map[string][]byte{
		"ca.crt": r.PKI.CA, "server.crt": r.PKI.ServerCert, "server.key": r.PKI.ServerKey,
	})
	section := map[string]any{
		"certificate": filepath.Join(r.Root, "server.crt"),
		"key":         filepath.Join(r.Root, "server.key"),
	}
	if r.config.clientCerts {
		section["clientcas"] = []string{filepath.Join(r.Root, "ca.crt")}
	}
	return section, err
}

func (r *Registry) setupAuth() (map[string]any, error) {
	if r.config.token != nil {
		return r.setupToken()
	}
	if r.config.user == "" {
		return map[string]any{}, nil
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(r.config.password), bcrypt.MinCost)
	if err != nil {
		return nil, fmt.Errorf("hash password: %w", err)
	}
	path := filepath.Join(r.Root, "htpasswd")
	line := fmt.Sprintf("%s:%s\n", r.config.user, hash)
	if err := os.WriteFile(path, []byte(line), 0o600); err != nil {
		return nil, err
	}
	return map[string]any{"htpasswd": map[string]any{"realm": "test", "path": path}}, nil
}

// Client returns a client that trusts the registry's CA and shows it the right
// credentials, whatever they are; tests push through it.
func (r *Registry) Client() *http.Client { return r.client }

// Log returns what the registry has written so far.
func (r *Registry) Log() string {
	if r.proc == nil {
		return ""
	}
	return r.proc.log.String()
}

// Close stops the registry; its data stays in Root.
func (r *Registry) Close() error {
	var err error
	if r.proc != nil {
		err = r.proc.stop()
	}
	if r.Token != nil {
		r.Token.Close()
	}
	return err
}

// Faults puts a proxy in front of the registry until the test ends. It serves
// TLS, with the registry's CA, when the registry does or the options say so.
func (r *Registry) Faults(t testing.TB, opts ...Option) *Faults {
	t.Helper()
	return startFaults(t, proxyTo(r.URL, newTransport(r.PKI)), r.PKI, opts)
}

// authenticated adds the right credentials to each request.
func (r *Registry) authenticated(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		req = req.Clone(req.Context())
		switch {
		case r.Token != nil:
			req.Header.Set("Authorization", "Bearer "+r.Token.mint(r.config.user, everything(req)))
		case r.config.user != "":
			req.SetBasicAuth(r.config.user, r.config.password)
		}
		return next.RoundTrip(req)
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func newTransport(p *PKI) *http.Transport {
	// No proxy of the environment: everything here is on loopback.
	t := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 16}
	if p != nil {
		t.TLSClientConfig = p.clientConfig()
	}
	return t
}
