package registry

import (
	"cmp"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/image/internals"
	"osbuild-containers/internal/retry"
)

// maxRedirects is the limit of net/http, which a CheckRedirect function replaces.
const maxRedirects = 10

// span is in the context of the request for one blob: the offset that is wanted, and the offset of the answer.
type span struct {
	digest digest.Digest
	size   int64 // negative: unknown
	urls   []string
	want   int64 // bytes
	start  int64 // bytes
	seen   bool  // the request for the blob was made: a redirect of it follows
}

type spanKey struct{}

// covers reports whether req asks for the blob itself; the library sends requests for tokens with
// the same context.
func (s *span) covers(req *http.Request) bool {
	if strings.HasSuffix(req.URL.Path, "/blobs/"+s.digest.String()) || slices.Contains(s.urls, req.URL.String()) {
		s.seen = true
		return true
	}
	return s.seen && req.Response != nil
}

// checkRedirect keeps credentials from any origin but the first. net/http compares hosts
// without their ports.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) >= maxRedirects {
		return redirected(req, fmt.Errorf("stopped after %d redirects", maxRedirects))
	}
	if a, b := req.URL, via[0].URL; a.Scheme != b.Scheme || hostPort(a) != hostPort(b) {
		if hasForm(req) { // with a password or a refresh token, which status 307 would take along
			return http.ErrUseLastResponse
		}
		req.Header.Del("Authorization")
		req.Header.Del("Cookie")
	}
	return nil
}

// wire is the RoundTripper between the library and the network.
type wire struct {
	http.RoundTripper
	registry *url.URL // scheme and host
	tokens   []string // URLs of its token servers
	login    *login
	open     bool // the registry has no challenge when it is first asked
}

// other returns the host of a request that is neither for the registry nor for a token, else "". The host is from a
// redirect, a URL in a manifest or the location of an upload: it gets no credentials, and its answers are not the
// registry's.
func (w *wire) other(req *http.Request) string {
	if hostPort(req.URL) == hostPort(w.registry) || w.forToken(req) {
		return ""
	}
	return req.URL.Host
}

// forToken reports whether a request is for a token.
func (w *wire) forToken(req *http.Request) bool {
	u := *firstOf(req).URL
	u.RawQuery = ""
	return slices.Contains(w.tokens, u.String())
}

// mayBe reports whether a status of another host is left to the library: an unsatisfiable range, and a missing
// signature on a web server that registries.d names.
func (w *wire) mayBe(status int, req *http.Request) bool {
	switch status {
	case http.StatusRequestedRangeNotSatisfiable:
		return true
	case http.StatusNotFound:
		first := firstOf(req)
		_, blob := req.Context().Value(spanKey{}).(*span)
		api := hostPort(first.URL) == hostPort(w.registry) && strings.HasPrefix(first.URL.Path, "/v2/")
		return !blob && !api && first.Method == http.MethodGet
	}
	return false
}

// firstOf returns the request that was redirected to req, or req itself.
func firstOf(req *http.Request) *http.Request {
	for req.Response != nil && req.Response.Request != nil {
		req = req.Response.Request
	}
	return req
}

// knows records the challenges of the registry. It refuses a token server without TLS for a registry with TLS, unless
// the registry is insecure.
func (w *wire) knows(challenges []internals.Challenge, insecure bool) error {
	w.open = len(challenges) == 0
	for _, c := range challenges {
		if u, err := url.Parse(c.Parameters["realm"]); err == nil && c.Scheme == "bearer" {
			if u.Scheme == "http" && w.registry.Scheme == "https" && !insecure {
				return &realmError{u.Host}
			}
			u.RawQuery = ""
			w.tokens = append(w.tokens, u.String())
		}
	}
	return nil
}

// realmError reports a token server without TLS: credentials and tokens would be readable on the network.
type realmError struct{ host string }

func (e *realmError) Error() string {
	return "the token server " + e.host + " of the registry speaks plain http, want https: nothing was sent to it"
}

// CloseIdleConnections implements the method that the library calls when a source is closed.
func (w *wire) CloseIdleConnections() {
	if c, ok := w.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// RoundTrip implements http.RoundTripper. It adds the range to the request for a blob, and turns error answers into
// errors that tell how long the server asked to wait.
func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	sp, _ := req.Context().Value(spanKey{}).(*span)
	if sp == nil || !sp.covers(req) {
		sp = nil
	}
	if sp != nil && sp.want > 0 {
		req = req.Clone(req.Context())
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", sp.want))
	}
	sent, err := hideCredentials(req)
	if err != nil {
		return nil, err
	}
	other := w.other(req)
	if sent && other == "" {
		w.login.sent.Store(true)
	}
	if other != "" && req.Header.Get("Authorization") != "" { // the library sends it with uploads
		req = req.Clone(req.Context())
		req.Header.Del("Authorization")
	}
	answer, _ := req.Context().Value(headKey{}).(*headAnswer)
	if answer != nil && !w.forToken(req) {
		req = req.Clone(req.Context())
		req.Method = http.MethodHead
	} else {
		answer = nil
	}
	resp, err := w.RoundTripper.RoundTrip(req)
	if err != nil {
		return nil, redirected(req, err)
	}
	if answer != nil {
		answer.header = resp.Header
	}
	if w.open && resp.StatusCode == http.StatusUnauthorized && other == "" {
		if challenges := challengesOf(resp); len(challenges) > 0 {
			return nil, &challengeError{StatusError{Code: resp.StatusCode, Message: errorMessage(drop(resp))}, challenges}
		}
	}
	if classOf(resp.StatusCode) == retry.Transient || other != "" && resp.StatusCode >= 400 && !w.mayBe(resp.StatusCode, req) {
		err := &StatusError{Code: resp.StatusCode, Message: errorMessage(drop(resp)), RetryAfter: retryAfter(resp.Header, time.Now())}
		if other != "" {
			return nil, redirected(req, &ElsewhereError{other, err})
		}
		return nil, err
	}
	if resp.StatusCode >= 400 {
		if err := refused(resp); err != nil {
			return nil, err
		}
	}
	if sp == nil {
		resp.Body = newDocument(req.Context(), resp.Body)
		return resp, nil
	}
	switch resp.StatusCode {
	case http.StatusOK:
		sp.start = 0
	case http.StatusPartialContent:
		first, ok := firstByte(resp.Header.Get("Content-Range"))
		if !ok || first != sp.want {
			drop(resp)
			return nil, fmt.Errorf("%w: got Content-Range %q, want bytes from %d on", ErrRange, resp.Header.Get("Content-Range"), sp.want)
		}
		sp.start = first
		resp.StatusCode, resp.Status = http.StatusOK, "200 OK"
	case http.StatusRequestedRangeNotSatisfiable:
		drop(resp)
		return nil, fmt.Errorf("%w: no bytes from %d on", ErrRange, sp.want)
	default:
		resp.Body = newDocument(req.Context(), resp.Body)
		return resp, nil
	}
	if err := checkBlob(resp, sp); err != nil {
		resp.Body.Close()
		return nil, err
	}
	resp.Body = body{resp.Body}
	return resp, nil
}

// errorBody is the number of bytes that are read of the body of an error.
const errorBody = 64 << 10

// drop closes an answer, reading a little first so that the connection can be used again.
func drop(resp *http.Response) []byte {
	start, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	resp.Body.Close()
	return start
}

// quoted is the number of bytes that are shown of an error in an unknown format, as in the
// library.
const quoted = 50

// errorMessage returns the message in the body of an error, in the words of the library.
func errorMessage(body []byte) string { return hideUsers(messageOf(body)) }

func messageOf(body []byte) string {
	e, ok := errorDocument(body)
	var store struct{ Code, Message string } // S3 and those who speak it, Azure
	switch {
	case len(body) == 0:
		return ""
	case ok:
		return cmp.Or(e.Message, e.Code)
	case xml.Unmarshal(body, &store) == nil && store.Code+store.Message != "":
		return strings.Trim(store.Code+": "+firstLine(store.Message), ": ")
	case len(body) > quoted:
		return strconv.Quote(string(body[:quoted]) + "...")
	}
	return strconv.Quote(string(body))
}

func firstLine(s string) string {
	first, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return first
}

// body hides from the library that a connection broke: it would reconnect silently, once, and only
// if ranges work. The caller of Source.Blob resumes instead.
type body struct{ io.ReadCloser }

func (b body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) {
		err = &brokenError{err.Error()}
	}
	return n, err
}

// firstByte reads the offset out of a Content-Range header, RFC 9110 section 14.4.
func firstByte(header string) (int64, bool) {
	rest, ok := strings.CutPrefix(header, "bytes ")
	first, _, dash := strings.Cut(rest, "-")
	n, err := strconv.ParseInt(first, 10, 64)
	return n, ok && dash && err == nil
}

// retryAfter reads the header of that name, RFC 9110 section 10.2.3; 0 if there is none.
func retryAfter(h http.Header, now time.Time) time.Duration {
	v := h.Get("Retry-After")
	if n, err := strconv.ParseInt(v, 10, 32); err == nil && n > 0 {
		return time.Duration(n) * time.Second
	}
	if t, err := http.ParseTime(v); err == nil && t.After(now) {
		return t.Sub(now)
	}
	return 0
}

// hostPort is the host of a URL, with its port.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

// ElsewhereError is the answer of a host that is not the registry: one to which the registry redirects for a blob or a
// manifest, as a rule with a signed URL that may have expired; one that a manifest names for a layer; or one that takes
// an upload. The registry may give another URL.
type ElsewhereError struct {
	Host string
	Err  *StatusError
}

func (e *ElsewhereError) Error() string { return e.Err.Error() }
func (e *ElsewhereError) Unwrap() error { return e.Err }
