package registry

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containers/image/v5/docker"
	"github.com/docker/distribution/registry/api/errcode"

	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/retry"
)

// sent returns an error as wrapped by net/http.
func sent(err error) error {
	return &url.Error{Op: "Get", URL: "https://registry.example/v2/", Err: err}
}

func dial(errno syscall.Errno) error {
	return sent(&net.OpError{Op: "dial", Net: "tcp", Err: errno})
}

// TestClassify checks which errors are retried, also when wrapped and reworded.
func TestClassify(t *testing.T) {
	for name, c := range map[string]struct {
		err   error
		class retry.Class
		after time.Duration
	}{
		"408":                {&StatusError{Code: 408}, retry.Transient, 0},
		"429":                {&StatusError{Code: 429, RetryAfter: 7 * time.Second}, retry.Transient, 7 * time.Second},
		"503, sent":          {sent(&StatusError{Code: 503}), retry.Transient, 0},
		"500 of the library": {docker.UnexpectedHTTPStatusError{StatusCode: 500}, retry.Transient, 0},
		"501 of the library": {docker.UnexpectedHTTPStatusError{StatusCode: 501}, retry.Final, 0},
		"429 of the library": {docker.ErrTooManyRequests, retry.Transient, 0},
		"401 of the library": {docker.ErrUnauthorizedForCredentials{Err: errors.New("no")}, retry.Denied, 0},
		"401 code":           {errcode.ErrorCodeUnauthorized.WithMessage("no"), retry.Denied, 0},
		"403 code":           {errcode.ErrorCodeDenied.WithMessage("no"), retry.Denied, 0},
		"429 code":           {errcode.ErrorCodeTooManyRequests.WithMessage("no"), retry.Transient, 0},
		"503 code":           {errcode.ErrorCodeUnavailable.WithMessage("no"), retry.Final, 0}, // the status is not 503
		"unknown code":       {errcode.ErrorCodeUnknown.WithMessage("internal"), retry.Final, 0},
		"closed":             {sent(&net.OpError{Op: "write", Net: "tcp", Err: net.ErrClosed}), retry.Transient, 0},
		"closed pipe":        {sent(io.ErrClosedPipe), retry.Transient, 0},
		"broken pipe":        {sent(&net.OpError{Op: "write", Err: syscall.EPIPE}), retry.Transient, 0},
		"shut down":          {sent(&net.OpError{Op: "write", Err: syscall.ENOTCONN}), retry.Transient, 0},
		"no port left":       {dial(syscall.EADDRNOTAVAIL), retry.Transient, 0},
		"malformed":          {sent(errors.New("net/http: HTTP/1.x transport connection broken: malformed HTTP response \"x\"")), retry.Transient, 0},
		"not all was sent":   {sent(errors.New("http: ContentLength=9 with Body length 5")), retry.Transient, 0},
		"not found, unknown": {errcode.ErrorCodeUnknown.WithMessage("Not Found"), retry.Final, 0},
		"408 text":           {errors.New(`StatusCode: 408, "x"`), retry.Transient, 0},
		"404 text":           {errors.New(`StatusCode: 404, "x"`), retry.Final, 0},
		"403 text":           {errors.New(`StatusCode: 403, ""`), retry.Denied, 0},
		"plain http to TLS":  {errors.New(`StatusCode: 400, "Client sent an HTTP request to an HTTPS server.\n"`), retry.Transient, 0},
		"refused":            {dial(syscall.ECONNREFUSED), retry.Transient, 0},
		"unreachable":        {dial(syscall.EHOSTUNREACH), retry.Transient, 0},
		"reset":              {sent(&net.OpError{Op: "read", Err: syscall.ECONNRESET}), retry.Transient, 0},
		"no such host":       {sent(&net.DNSError{Err: "no such host", IsNotFound: true}), retry.Final, 0},
		"DNS in trouble":     {sent(&net.DNSError{Err: "server misbehaving", IsTemporary: true}), retry.Transient, 0},
		"unexpected EOF":     {fmt.Errorf("x: %w", io.ErrUnexpectedEOF), retry.Transient, 0},
		"EOF":                {sent(io.EOF), retry.Transient, 0},
		"broken":             {&brokenError{"x"}, retry.Transient, 0},
		"time-out":           {sent(&net.OpError{Op: "dial", Err: timeout{}}), retry.Transient, 0},
		"idle":               {sent(errors.New("http: server closed idle connection")), retry.Transient, 0},
		"unknown CA":         {sent(x509.UnknownAuthorityError{}), retry.Final, 0},
		"bad certificate":    {sent(&tls.CertificateVerificationError{Err: x509.HostnameError{Certificate: &x509.Certificate{}}}), retry.Final, 0},
		"alert":              {sent(&net.OpError{Op: "remote error", Err: errors.New("tls: certificate required")}), retry.Final, 0},
		"no range":           {sent(fmt.Errorf("%w: x", ErrRange)), retry.Final, 0},
		"mismatch":           {manifest.Mismatch("manifest", "", ""), retry.Final, 0},
		"anything":           {errors.New("anything"), retry.Final, 0},
	} {
		t.Run(name, func(t *testing.T) {
			for _, err := range []error{c.err, fmt.Errorf("blob x: %w", c.err), reword(c.err), reword(fmt.Errorf("fetching blob: %w", c.err))} {
				class, after := Classify(err)
				if class != c.class || after != c.after {
					t.Errorf("%v: got %d and %s, want %d and %s", err, class, after, c.class, c.after)
				}
			}
		})
	}
}

type timeout struct{}

func (timeout) Error() string { return "i/o timeout" }
func (timeout) Timeout() bool { return true }

// TestHint pairs errors with their hints.
func TestHint(t *testing.T) {
	for name, c := range map[string]struct {
		err  error
		want string
	}{
		"no remedy":    {errors.New("x"), ""},
		"unknown CA":   {sent(&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}), "add the CA to certs.d as a .crt file, or use tls-verify: false; intermediate certificates are for the registry to send"},
		"other name":   {sent(&tls.CertificateVerificationError{Err: errors.New("x")}), "check the registry's certificate, or use tls-verify: false"},
		"plain http":   {sent(errors.New("http: server gave HTTP response to HTTPS client")), "the registry speaks plain http: use tls-verify: false or mark it insecure in registries.conf"},
		"no such host": {sent(&net.DNSError{Err: "no such host", IsNotFound: true}), "check the registry's name"},
		"refused":      {dial(syscall.ECONNREFUSED), "check that the registry runs and that this machine can reach it"},
		"401":          {docker.ErrUnauthorizedForCredentials{Err: errors.New("no")}, "log in (podman login, REGISTRY_AUTH_FILE) or check that the account may read this repository"},
		"405":          {errors.New(`StatusCode: 405, "x"`), "the registry does not take this request: it may be read-only, or a proxy of another one"},
		"413":          {&StatusError{Code: 413}, "the registry, or a proxy before it, takes no bodies of that size: raise its limit (nginx: client_max_body_size)"},
		"404":          {errors.New(`StatusCode: 404, "x"`), "check the name and whether the registry still has this digest"},
		"auth file":    {&loginError{"/a/auth.json", &fs.PathError{Op: "open", Path: "/a/auth.json", Err: syscall.EACCES}}, "this user must be able to read /a/auth.json"},
		"lookaside":    {&fs.PathError{Op: "open", Path: "/var/lib/sigstore/x", Err: syscall.EACCES}, "this user must be able to read /var/lib/sigstore/x"},
		"broken auth":  {&loginError{"/a/auth.json", errors.New("x")}, "correct that, or log in again (podman login)"},
		"no helper":    {&loginError{"/a/auth.json", errors.New(`exec: "docker-credential-x": executable file not found in $PATH`)}, "install that credential helper, or remove this entry"},
		"no cert":      {errors.New("missing client certificate x.cert for key x.key"), "both must be in the registry's directory in certs.d"},
	} {
		if got := Hint(reword(c.err)).Field; got != c.want {
			t.Errorf("%s: got %q, want %q", name, got, c.want)
		}
	}
}

// TestClockHint: a certificate that is not valid at present may be right, and the clock wrong.
func TestClockHint(t *testing.T) {
	at := func(year int) time.Time { return time.Date(year, 1, 2, 3, 4, 0, 0, time.UTC) }
	cert := &x509.Certificate{NotBefore: at(2020), NotAfter: at(2021)}
	for year, want := range map[int]string{
		2019: "it is valid from 2020-01-02 03:04 UTC on, or correct the clock of this machine, which says 2019-01-02 03:04 UTC",
		2024: "it expired at 2021-01-02 03:04 UTC: have it renewed, or correct the clock of this machine, which says 2024-01-02 03:04 UTC",
	} {
		if got := clockHint(cert, at(year)).Field; got != want {
			t.Errorf("%d: got %q, want %q", year, got, want)
		}
	}
	expired := sent(&tls.CertificateVerificationError{Err: x509.CertificateInvalidError{Cert: cert, Reason: x509.Expired}})
	if got := Hint(expired).Field; !strings.Contains(got, "the clock of this machine") {
		t.Errorf("got %q", got)
	}
}

// TestRetryAfter parses the header as defined by RFC 9110.
func TestRetryAfter(t *testing.T) {
	now := time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "0": 0, "7": 7 * time.Second, "-7": 0, "soon": 0, "1.5": 0, "99999999999999999999": 0,
		"Thu, 29 Feb 2024 12:00:30 GMT": 30 * time.Second,
		"Thu, 29 Feb 2024 11:59:00 GMT": 0,
	} {
		if got := retryAfter(http.Header{"Retry-After": {value}}, now); got != want {
			t.Errorf("%q: got %s, want %s", value, got, want)
		}
	}
}

// TestFirstByte parses Content-Range headers, valid and invalid.
func TestFirstByte(t *testing.T) {
	for header, want := range map[string]int64{
		"bytes 0-9/10": 0, "bytes 5-9/10": 5, "bytes 5-9/*": 5,
		"": -1, "bytes */10": -1, "bytes x-9/10": -1, "bytes 5": -1, "5-9/10": -1, "bytes  5-9/10": -1, "items 5-9/10": -1,
		"bytes 99999999999999999999-9/10": -1,
	} {
		got, ok := firstByte(header)
		if !ok {
			got = -1
		}
		if got != want {
			t.Errorf("%q: got %d, want %d", header, got, want)
		}
	}
}

// TestErrorMessage checks the message extracted from an error's body: the registry's, or the start of any other text.
func TestErrorMessage(t *testing.T) {
	long := strings.Repeat("x", 60)
	for body, want := range map[string]string{
		"": "",
		`{"errors": [{"code": "UNAVAILABLE", "message": "down"}, {"code": "X", "message": "y"}]}`: "down",
		`{"errors": [{"code": "UNAVAILABLE"}]}`:                                                   "UNAVAILABLE",
		`{"errors": []}`:                                                                          `"{\"errors\": []}"`,
		"<html>\n<b>":                                                                             `"<html>\n<b>"`,
		"\x00\x1b[31m\xff":                                                                        `"\x00\x1b[31m\xff"`,
		long:                                                                                      `"` + long[:50] + `..."`,
	} {
		if got := errorMessage([]byte(body)); got != want {
			t.Errorf("%q: got %s, want %s", body, got, want)
		}
	}
}

// The text of net/http for a lost connection depends on which function noticed first.
func TestInnardsOfHTTPAreNotShown(t *testing.T) {
	err := reword(errors.New(`Get "https://q.io/v2/": readLoopPeekFailLocked: remote error: tls: certificate required`))
	if want := `Get "https://q.io/v2/": remote error: tls: certificate required`; err.Error() != want {
		t.Errorf("got %q, want %q", err, want)
	}
}
