package registry

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/containers/image/v5/docker"
	"github.com/docker/distribution/registry/api/errcode"

	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/image/internals"
	"osbuild-containers/internal/retry"
)

// ErrRange reports that the server cannot resume a blob: start from offset 0.
var ErrRange = errors.New("server refuses the range")

// A StatusError is a response with an error status.
type StatusError struct {
	Code       int
	Message    string        // server's message, or ""
	RetryAfter time.Duration // 0 if the server did not say
}

func (e *StatusError) Error() string {
	if e.Message == "" {
		return internals.StatusLine(e.Code)
	}
	return internals.StatusLine(e.Code) + ": " + e.Message
}

// brokenError is a connection that ended before the body.
type brokenError struct{ text string }

func (e *brokenError) Error() string { return "connection broke: " + e.text }

// Classify returns the class of an error of this package. retryAfter is the wait that the server asked for.
func Classify(err error) (class retry.Class, retryAfter time.Duration) {
	var other *elsewhereError
	if errors.As(err, &other) {
		switch code := other.Err.Code; {
		case classOf(code) == retry.Denied, code == http.StatusBadRequest, code == http.StatusGone: // another URL may work
			return retry.Transient, other.Err.RetryAfter
		}
	}
	var status *StatusError
	if errors.As(err, &status) {
		return classOf(status.Code), status.RetryAfter
	}
	if code := statusOf(err); code != 0 && !strings.Contains(err.Error(), plainToTLS) {
		return classOf(code), 0
	}
	if isTransient(err) {
		return retry.Transient, 0
	}
	return retry.Final, 0
}

func classOf(code int) retry.Class {
	switch code {
	case http.StatusUnauthorized, http.StatusForbidden:
		return retry.Denied
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
		http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return retry.Transient
	}
	return retry.Final
}

// statusOf returns the HTTP status of an error of any of the library's types, or 0.
func statusOf(err error) int {
	if err == nil {
		return 0
	}
	var status *StatusError
	if errors.As(err, &status) {
		return status.Code
	}
	if errors.Is(err, docker.ErrTooManyRequests) {
		return http.StatusTooManyRequests
	}
	var creds docker.ErrUnauthorizedForCredentials
	if errors.As(err, &creds) {
		return http.StatusUnauthorized
	}
	var unexpected docker.UnexpectedHTTPStatusError
	if errors.As(err, &unexpected) {
		return unexpected.StatusCode
	}
	var coder errcode.ErrorCoder
	if errors.As(err, &coder) {
		code := coder.ErrorCode().Descriptor().HTTPStatusCode
		switch {
		case code < 500:
		case strings.Contains(strings.ToLower(err.Error()), "not found"):
			return http.StatusNotFound // Harbor, registry.redhat.io
		default: // the library parses codes only for statuses 400 to 499
			return http.StatusBadRequest
		}
		return code
	}
	var worded *wordedError
	if errors.As(err, &worded) {
		err = worded.err
	}
	return internals.Status(err.Error())
}

func isTransient(err error) bool {
	var broken *brokenError
	var dns *net.DNSError
	var netErr net.Error
	switch {
	case errors.As(err, &broken), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return true
	case errors.As(err, &dns):
		return !dns.IsNotFound
	case isTLS(err):
		return false
	case errors.As(err, &netErr) && netErr.Timeout():
		return true
	}
	return isGone(err) || strings.Contains(err.Error(), plainToTLS)
}

// isGone reports whether a connection could not be made, or was lost. The error depends on what notices first: the
// kernel, net/http, or the writer of the request body.
func isGone(err error) bool {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe) ||
		isErrno(err, syscall.ECONNRESET, syscall.ECONNREFUSED, syscall.ECONNABORTED, syscall.EPIPE, syscall.ENOTCONN, syscall.ESHUTDOWN,
			syscall.ENETUNREACH, syscall.EHOSTUNREACH, syscall.ENETDOWN, syscall.EHOSTDOWN, syscall.ENETRESET, syscall.ETIMEDOUT,
			syscall.EADDRNOTAVAIL) {
		return true
	}
	return slices.ContainsFunc(goneTexts, func(text string) bool { return strings.Contains(err.Error(), text) })
}

// goneTexts are net/http's texts for a lost connection where it has no typed error.
var goneTexts = []string{
	"server closed idle connection", "transport connection broken", "Transport failed to read from server", "malformed HTTP response",
	"http: ContentLength=", // the request body was cut off
}

// plainToTLS is a TLS server's response to plain http. The library falls back to http, where allowed, when TLS fails, and
// drops the first error.
const plainToTLS = "Client sent an HTTP request to an HTTPS server"

func isErrno(err error, errnos ...syscall.Errno) bool {
	return slices.ContainsFunc(errnos, func(e syscall.Errno) bool { return errors.Is(err, e) })
}

func isTLS(err error) bool {
	var verify *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	var alert tls.AlertError
	var unknown x509.UnknownAuthorityError
	return errors.As(err, &verify) || errors.As(err, &record) || errors.As(err, &alert) || errors.As(err, &unknown) || isAlert(err)
}

// isAlert reports whether the server ended the TLS handshake with an alert.
func isAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

// fileError is returned for an unreadable file of this machine's configuration.
type fileError struct {
	path string
	err  error
}

func (e *fileError) Error() string { return e.err.Error() }
func (e *fileError) Unwrap() error { return e.err }

// unreadable marks an error of this machine's configuration, so that it is not mistaken for one of the cache.
func unreadable(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) && errors.Is(err, fs.ErrPermission) {
		return &fileError{path.Path, err}
	}
	return err
}

// clockHint returns the hint for a certificate that is not valid at present.
func clockHint(cert *x509.Certificate, now time.Time) hint.Hint {
	const day = "2006-01-02 15:04 MST"
	which := "it expired at " + cert.NotAfter.UTC().Format(day) + ": have it renewed"
	if now.Before(cert.NotBefore) {
		which = "it is valid from " + cert.NotBefore.UTC().Format(day) + " on"
	}
	return hint.New("%s, or correct the clock of this machine, which says %s", which, now.UTC().Format(day))
}

// Hint returns the hint for an error of a registry, or the zero Hint if the error needs none.
func Hint(err error) hint.Hint {
	var unknown x509.UnknownAuthorityError
	var dns *net.DNSError
	var content *contentError
	var invalid x509.CertificateInvalidError
	var config *fileError
	var login *loginError
	text := err.Error()
	unverified := hint.Option("tls-verify: false")
	if IsSend(err) {
		unverified = "dest-tls-verify: false" // only the tool writes to registries
	}
	switch {
	case errors.As(err, &content) && content.page:
		return hint.New("a proxy or a login page answers in the registry's place: check the network of this machine, and the proxy in HTTPS_PROXY")
	case errors.As(err, &content):
		return hint.New("what is served is not what the manifest names: a proxy or the registry damages it, or the image was pushed badly")
	case strings.Contains(text, "server gave HTTP response to HTTPS client"):
		return hint.New("the registry speaks plain http: use %s or mark it insecure in registries.conf", unverified)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && invalid.Cert != nil:
		return clockHint(invalid.Cert, time.Now())
	case errors.As(err, &unknown):
		return hint.New("add the CA to certs.d as a .crt file, or use %s; intermediate certificates are for the registry to send", unverified)
	case errors.As(err, new(*realmError)):
		return hint.New("have the registry name an https realm, or accept that with %s or insecure in registries.conf", unverified)
	case isAlert(err):
		return hint.New("the registry wants another client certificate: check the one in certs.d")
	case isTLS(err):
		return hint.New("check the registry's certificate, or use %s", unverified)
	case strings.Contains(text, http.StatusText(http.StatusProxyAuthRequired)):
		return hint.New("put the proxy's user name and password into the URL in HTTP_PROXY and HTTPS_PROXY")
	case strings.Contains(text, "for client certificate"), strings.Contains(text, "missing client certificate"):
		return hint.New("both must be in the registry's directory in certs.d")
	case errors.As(err, &config):
		return hint.New("this user must be able to read %s", config.path)
	case errors.As(err, &login) && strings.Contains(text, "executable file not found"):
		return hint.New("install that credential helper, or remove this entry")
	case errors.As(err, &login) && strings.Contains(text, "invalid character 'ï'"):
		return hint.New("the file begins with a byte order mark: save it as UTF-8 without one")
	case errors.As(err, &login):
		return hint.New("correct that, or log in again (podman login)")
	case errors.As(err, &dns):
		return hint.New("check the registry's name")
	case isErrno(err, syscall.ECONNREFUSED, syscall.EHOSTUNREACH, syscall.ENETUNREACH):
		return hint.New("check that the registry runs and that this machine can reach it")
	}
	var other *elsewhereError
	if errors.As(err, &other) {
		return hint.New("%s says that, not the registry: check that host and, where a URL has expired, the clocks of both", other.Host)
	}
	var denied *deniedError
	switch code := statusOf(err); {
	case errors.As(err, &denied) && denied.given:
		return hint.New("check the user and the password of %s, and whether the account may read this repository", givenLogin)
	case classOf(code) == retry.Denied:
		return hint.New("log in (podman login, REGISTRY_AUTH_FILE) or check that the account may read this repository")
	case code == http.StatusRequestEntityTooLarge:
		return hint.New("the registry, or a proxy before it, takes no bodies of that size: raise its limit (nginx: client_max_body_size)")
	case code == http.StatusMethodNotAllowed:
		return hint.New("the registry does not take this request: it may be read-only, or a proxy of another one")
	case code == http.StatusNotFound:
		return hint.New("check the name and whether the registry still has this digest")
	}
	return hint.Hint{}
}
