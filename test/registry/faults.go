package registry

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"strings"
	"sync"
	"testing"
)

// Faults is a server that answers as the handler behind it does, except where a
// rule says otherwise, and that remembers every request.
type Faults struct {
	URL  string // "http://127.0.0.1:port" or https
	Addr string // "127.0.0.1:port", as an image name begins
	PKI  *PKI   // nil without TLS

	server  *httptest.Server
	next    http.Handler
	closing chan struct{} // ends stalls

	mu      sync.Mutex
	rules   []*rule
	records []*record
}

type rule struct {
	match  Match
	faults []Fault
	seen   int
}

// NewFaults serves handler, nil for 404, until the test ends. Of the options,
// TLS and ClientCerts count.
func NewFaults(t testing.TB, handler http.Handler, opts ...Option) *Faults {
	t.Helper()
	return startFaults(t, handler, nil, opts)
}

// Proxy puts a proxy in front of any server that speaks plain http, until it is
// closed.
func Proxy(upstream string) *Faults {
	return newFaults(proxyTo(upstream, newTransport(nil)), nil)
}

func startFaults(t testing.TB, handler http.Handler, pki *PKI, opts []Option) *Faults {
	t.Helper()
	c := newConfig(opts)
	if pki == nil && c.tls {
		var err error
		if pki, err = newPKI(c.clientCerts); err != nil {
			t.Fatal(err)
		}
	}
	f := newFaults(handler, pki)
	t.Cleanup(f.Close)
	return f
}

func newFaults(handler http.Handler, pki *PKI) *Faults {
	if handler == nil {
		handler = http.NotFoundHandler()
	}
	f := &Faults{next: handler, PKI: pki, closing: make(chan struct{})}
	f.server = httptest.NewUnstartedServer(f)
	f.server.Config.ErrorLog = log.New(io.Discard, "", 0) // broken connections are our purpose
	if pki != nil {
		// HTTP/1.1 only: a connection is then one request's own to break.
		f.server.TLS = pki.serverConfig()
		f.server.StartTLS()
	} else {
		f.server.Start()
	}
	f.URL = f.server.URL
	f.Addr = f.server.Listener.Addr().String()
	return f
}

// Close ends the server and every answer it holds back.
func (f *Faults) Close() {
	close(f.closing)
	f.server.CloseClientConnections()
	f.server.Close()
}

// LocalhostURL is URL by the name localhost: to clients another host.
func (f *Faults) LocalhostURL() string {
	_, port, _ := net.SplitHostPort(f.Addr)
	scheme, _, _ := strings.Cut(f.URL, ":")
	return scheme + "://localhost:" + port
}

// On adds a rule: a request that matches suffers the faults, the first outermost.
func (f *Faults) On(m Match, faults ...Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = append(f.rules, &rule{match: m, faults: faults})
}

// Reset drops all rules and forgets all requests.
func (f *Faults) Reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules, f.records = nil, nil
}

// ServeHTTP implements http.Handler.
func (f *Faults) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h, rec := f.plan(r)
	rec.serve(h, w, withCloser(r, f.closing))
}

// plan records the request and wraps the handler in the faults that apply.
func (f *Faults) plan(r *http.Request) (http.Handler, *record) {
	f.mu.Lock()
	defer f.mu.Unlock()
	rec := newRecord(r)
	f.records = append(f.records, rec)
	var faults []Fault
	for _, rule := range f.rules {
		if !rule.match.request(r) {
			continue
		}
		rule.seen++
		if rule.match.turn(rule.seen) {
			faults = append(faults, rule.faults...)
		}
	}
	h := f.next
	for i := len(faults) - 1; i >= 0; i-- {
		h = faults[i](h)
	}
	return h, rec
}

type closerKey struct{}

func withCloser(r *http.Request, closing <-chan struct{}) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), closerKey{}, closing))
}

// waitForClose blocks until the client or the test has enough.
func waitForClose(r *http.Request) { waitFor(r, nil) }

// waitFor blocks until the channel is closed, or the client or the test has enough. It reports whether the channel is closed.
func waitFor(r *http.Request, release <-chan struct{}) bool {
	closing, _ := r.Context().Value(closerKey{}).(<-chan struct{})
	select {
	case <-release:
		return true
	case <-closing:
	case <-r.Context().Done():
	}
	return false
}

func proxyTo(upstream string, transport http.RoundTripper) http.Handler {
	scheme, host, _ := strings.Cut(upstream, "://")
	return &httputil.ReverseProxy{
		Transport:     transport,
		FlushInterval: -1,
		BufferPool:    buffers{},
		ErrorLog:      log.New(io.Discard, "", 0),
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = scheme, host
		},
	}
}

const bufferSize = 64 << 10

var bufferPool = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// buffers implements httputil.BufferPool.
type buffers struct{}

// Get returns a buffer.
func (buffers) Get() []byte { return bufferPool.Get().(*[bufferSize]byte)[:] }

// Put takes it back.
func (buffers) Put(b []byte) { bufferPool.Put((*[bufferSize]byte)(b)) }
