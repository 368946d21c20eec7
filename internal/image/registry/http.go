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

// maxRedirects is net/http's limit, which a CheckRedirect function must enforce itself.
const maxRedirects = 10

// span is in the context of a blob request: the requested offset and the offset of the response.
type span struct {
	digest digest.Digest
	size   int64 // negative: unknown
	urls   []string
	want   int64 // bytes
	start  int64 // bytes
	seen   bool  // the blob was requested: what follows are redirects
}

type spanKey struct{}

// covers reports whether req is for the blob itself: the library requests tokens with the same context.
func (s *span) covers(req *http.Request) bool {
	if strings.HasSuffix(req.URL.Path, "/blobs/"+s.digest.String()) || slices.Contains(s.urls, req.URL.String()) {
		s.seen = true
		return true
	}
	return s.seen && req.Response != nil
}

// checkRedirect sends credentials only to the original origin. net/http ignores the port when it compares hosts.
func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) >= maxRedirects {
		return redirected(req, fmt.Errorf("stopped after %d redirects", maxRedirects))
	}
	if a, b := req.URL, via[0].URL; a.Scheme != b.Scheme || hostPort(a) != hostPort(b) {
		if hasForm(req) { // has a password or refresh token, which status 307 would forward
			return http.ErrUseLastResponse
		}
		req.Header.Del("Authorization")
		req.Header.Del("Cookie")
	}
	return nil
}

// transport is the RoundTripper between the library and the network.
type transport struct {
	http.RoundTripper
	registry *url.URL // scheme and host
	tokens   []string // URLs of its token servers
	login    *login
	open     bool // the registry did not challenge the first request
}

// other returns the host of a request to neither the registry nor a token server, or "". The host comes from a redirect,
// a URL in a manifest or the location of an upload: it gets no credentials, and its errors are not the registry's.
func (t *transport) other(req *http.Request) string {
	if hostPort(req.URL) == hostPort(t.registry) || t.forToken(req) {
		return ""
	}
	return req.URL.Host
}

// forToken reports whether a request is for a token.
func (t *transport) forToken(req *http.Request) bool {
	u := *firstOf(req).URL
	u.RawQuery = ""
	return slices.Contains(t.tokens, u.String())
}

// passesOn reports whether a status of another host is passed to the library: an unsatisfiable range, or a missing
// signature on a lookaside server.
func (t *transport) passesOn(status int, req *http.Request) bool {
	switch status {
	case http.StatusRequestedRangeNotSatisfiable:
		return true
	case http.StatusNotFound:
		first := firstOf(req)
		_, blob := req.Context().Value(spanKey{}).(*span)
		api := hostPort(first.URL) == hostPort(t.registry) && strings.HasPrefix(first.URL.Path, "/v2/")
		return !blob && !api && first.Method == http.MethodGet
	}
	return false
}

// firstOf returns the original request of a chain of redirects.
func firstOf(req *http.Request) *http.Request {
	for req.Response != nil && req.Response.Request != nil {
		req = req.Response.Request
	}
	return req
}

// setChallenges records the challenges of the registry. Unless insecure, it refuses a token server without TLS for a registry
// with TLS.
func (t *transport) setChallenges(challenges []internals.Challenge, insecure bool) error {
	t.open = len(challenges) == 0
	for _, c := range challenges {
		if u, err := url.Parse(c.Parameters["realm"]); err == nil && c.Scheme == "bearer" {
			if u.Scheme == "http" && t.registry.Scheme == "https" && !insecure {
				return &realmError{u.Host}
			}
			u.RawQuery = ""
			t.tokens = append(t.tokens, u.String())
		}
	}
	return nil
}

// realmError refuses a token server without TLS, to which credentials would be sent in the clear.
type realmError struct{ host string }

func (e *realmError) Error() string {
	return "the token server " + e.host + " of the registry speaks plain http, want https: nothing was sent to it"
}

// CloseIdleConnections is called by the library when a source is closed.
func (t *transport) CloseIdleConnections() {
	if c, ok := t.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// RoundTrip implements http.RoundTripper. It adds the range to blob requests, and converts error responses to errors with
// the wait that the server asked for.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	sp, _ := req.Context().Value(spanKey{}).(*span)
	if sp == nil || !sp.covers(req) {
		sp = nil
	}
	head, _ := req.Context().Value(headKey{}).(*headResponse)
	if t.forToken(req) {
		head = nil
	}
	other := t.other(req)
	req, err := t.prepare(req, sp, head, other)
	if err != nil {
		return nil, err
	}
	resp, err := t.exchange(req, other)
	if err != nil {
		return nil, redirected(req, err)
	}
	if head != nil {
		head.header = resp.Header
	}
	if err := t.statusError(req, resp, other); err != nil {
		return nil, err
	}
	if sp == nil {
		resp.Body = newDocument(req.Context(), resp.Body)
		return resp, nil
	}
	return sp.response(req, resp)
}

// prepare returns the request to send: with the range of sp and the method for head, and without credentials for other.
// sp and head may be nil, other may be "".
func (t *transport) prepare(req *http.Request, sp *span, head *headResponse, other string) (*http.Request, error) {
	if sp != nil && sp.want > 0 {
		req = req.Clone(req.Context())
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", sp.want))
	}
	sent, err := hideCredentials(req)
	if err != nil {
		return nil, err
	}
	if sent && other == "" {
		t.login.sent.Store(true)
	}
	if other != "" && req.Header.Get("Authorization") != "" { // the library adds it to uploads
		req = req.Clone(req.Context())
		req.Header.Del("Authorization")
	}
	if head != nil {
		req = req.Clone(req.Context())
		req.Method = http.MethodHead
	}
	return req, nil
}

// statusError returns the error for a response that the library must not see, after closing it. Nil leaves it open.
func (t *transport) statusError(req *http.Request, resp *http.Response, other string) error {
	if t.open && resp.StatusCode == http.StatusUnauthorized && other == "" {
		if challenges := challengesOf(resp); len(challenges) > 0 {
			return &challengeError{StatusError{Code: resp.StatusCode, Message: errorMessage(drop(resp))}, challenges}
		}
	}
	if classOf(resp.StatusCode) == retry.Transient || other != "" && resp.StatusCode >= 400 && !t.passesOn(resp.StatusCode, req) {
		err := &StatusError{Code: resp.StatusCode, Message: errorMessage(drop(resp)), RetryAfter: retryAfter(resp.Header, time.Now())}
		if other != "" {
			return redirected(req, &elsewhereError{other, err})
		}
		return err
	}
	if resp.StatusCode >= 400 {
		return refused(resp)
	}
	return nil
}

// response returns the response to a blob request as the library expects it: status 200, whatever the range. It records
// where the body starts.
func (s *span) response(req *http.Request, resp *http.Response) (*http.Response, error) {
	switch resp.StatusCode {
	case http.StatusOK:
		s.start = 0
	case http.StatusPartialContent:
		first, ok := firstByte(resp.Header.Get("Content-Range"))
		if !ok || first != s.want {
			drop(resp)
			return nil, fmt.Errorf("%w: got Content-Range %q, want bytes from %d on", ErrRange, resp.Header.Get("Content-Range"), s.want)
		}
		s.start = first
		resp.StatusCode, resp.Status = http.StatusOK, "200 OK"
	case http.StatusRequestedRangeNotSatisfiable:
		drop(resp)
		return nil, fmt.Errorf("%w: no bytes from %d on", ErrRange, s.want)
	default:
		resp.Body = newDocument(req.Context(), resp.Body)
		return resp, nil
	}
	if err := checkBlob(resp, s); err != nil {
		resp.Body.Close()
		return nil, err
	}
	resp.Body = body{resp.Body}
	return resp, nil
}

// errorBody is how many bytes of an error's body are read.
const errorBody = 64 << 10

// drop closes a response after reading a little, so that the connection can be reused.
func drop(resp *http.Response) []byte {
	start, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	resp.Body.Close()
	return start
}

// quoted is how many bytes of an error in an unknown format are shown, as in the library.
const quoted = 50

// errorMessage returns the message in an error's body, as the library would word it.
func errorMessage(body []byte) string { return hideUsers(messageOf(body)) }

func messageOf(body []byte) string {
	e, ok := errorDocument(body)
	var store struct{ Code, Message string } // S3 and compatible servers, Azure
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

// body hides broken connections from the library, which would silently reconnect once, and only if the server supports
// ranges. The caller of Source.Blob resumes instead.
type body struct{ io.ReadCloser }

func (b body) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) {
		err = &brokenError{err.Error()}
	}
	return n, err
}

// firstByte returns the offset in a Content-Range header (RFC 9110, section 14.4).
func firstByte(header string) (int64, bool) {
	rest, ok := strings.CutPrefix(header, "bytes ")
	first, _, dash := strings.Cut(rest, "-")
	n, err := strconv.ParseInt(first, 10, 64)
	return n, ok && dash && err == nil
}

// retryAfter returns the delay in a Retry-After header (RFC 9110, section 10.2.3), or 0.
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

// hostPort returns the host of a URL, with its port.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

// elsewhereError is an error response of a host other than the registry: the target of a redirect (often a signed URL that
// may have expired), a URL of a layer in a manifest, or the location of an upload. The registry may offer another URL.
type elsewhereError struct {
	Host string
	Err  *StatusError
}

func (e *elsewhereError) Error() string { return e.Err.Error() }
func (e *elsewhereError) Unwrap() error { return e.Err }
