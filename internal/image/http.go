package image

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
)

// maxRedirects is the limit of net/http, which a CheckRedirect function replaces.
const maxRedirects = 10

// span travels with the request for one blob: from where on it is wanted, and from where on it came.
type span struct {
	digest digest.Digest
	size   int64
	urls   []string
	want   int64 // bytes
	start  int64 // bytes
	seen   bool  // the request for the blob was made: a redirect of it follows
}

type spanKey struct{}

// covers says whether req asks for the blob itself; the library sends requests for tokens with
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
	if a, b := req.URL, via[0].URL; a.Scheme != b.Scheme || a.Host != b.Host {
		req.Header.Del("Authorization")
		req.Header.Del("Cookie")
	}
	return nil
}

// wire is between the library and the network.
type wire struct {
	http.RoundTripper
	open bool // the registry has no challenge, when it is first asked
}

// CloseIdleConnections is what the library calls when a source is closed.
func (w *wire) CloseIdleConnections() {
	if c, ok := w.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// RoundTrip asks for the rest of a blob, and turns answers that ask for patience into errors
// that say how much.
func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	sp, _ := req.Context().Value(spanKey{}).(*span)
	if sp == nil || !sp.covers(req) {
		sp = nil
	}
	if sp != nil && sp.want > 0 {
		req = req.Clone(req.Context())
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", sp.want))
	}
	if err := hideCredentials(req); err != nil {
		return nil, err
	}
	answer, _ := req.Context().Value(headKey{}).(*headAnswer)
	if answer != nil && (strings.Contains(req.URL.Path, "/manifests/") || req.Response != nil) {
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
	if w.open && resp.StatusCode == http.StatusUnauthorized && req.Response == nil {
		if challenges := challengesOf(resp); len(challenges) > 0 {
			return nil, &challengeError{StatusError{Code: resp.StatusCode, Message: errorMessage(drop(resp))}, challenges}
		}
	}
	other := elsewhere(req)
	if classOf(resp.StatusCode) == Transient || other != "" && resp.StatusCode >= 400 && resp.StatusCode != http.StatusRequestedRangeNotSatisfiable {
		err := &StatusError{Code: resp.StatusCode, Message: errorMessage(drop(resp)), RetryAfter: retryAfter(resp.Header, time.Now())}
		if other != "" {
			return nil, &ElsewhereError{other, err}
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
			return nil, fmt.Errorf("%w: asked for bytes from %d on, got Content-Range %q", ErrRange, sp.want, resp.Header.Get("Content-Range"))
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

// errorBody is how much of the body of an error is read, in bytes.
const errorBody = 64 << 10

// drop closes an answer, reading a little first so that the connection can be used again.
func drop(resp *http.Response) []byte {
	start, _ := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	resp.Body.Close()
	return start
}

// quoted is how much is shown of an error that is not in a registry's format, in bytes, as the
// library has it.
const quoted = 50

// errorMessage is what the body of an error says, as the library would put it.
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
		return strings.TrimSpace(strings.TrimPrefix(store.Code+": "+firstLine(store.Message), ": "))
	case len(body) > quoted:
		return strconv.Quote(string(body[:quoted]) + "...")
	}
	return strconv.Quote(string(body))
}

func firstLine(s string) string {
	first, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return first
}

// body hides from the library that a connection broke: it would reconnect unseen, once, and only
// where ranges work. The caller of Source.Blob does it better.
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

// redact hides the password of a URL in a message.
func redact(u string) string {
	if p, err := url.Parse(u); err == nil {
		return p.Redacted()
	}
	return u
}

// hostPort is the host of a URL, with its port.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// ElsewhereError is the answer of a host that is not the registry, but where the registry has sent us for a blob or a
// manifest: with a signed URL, as a rule, which may have expired. The registry may give another one.
type ElsewhereError struct {
	Host string
	Err  *StatusError
}

func (e *ElsewhereError) Error() string {
	return fmt.Sprintf("%s, where the registry keeps it, answers %s", e.Host, e.Err)
}
func (e *ElsewhereError) Unwrap() error { return e.Err }

// elsewhere returns the host of a request that a redirect led to another host than it was meant for, else "".
func elsewhere(req *http.Request) string {
	first := req
	for first.Response != nil && first.Response.Request != nil {
		first = first.Response.Request
	}
	if hostPort(first.URL) == hostPort(req.URL) {
		return ""
	}
	return req.URL.Host
}
