package registry

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/progress"
)

// wordedError is an error of the library in other words.
type wordedError struct {
	text string
	err  error
}

func (e *wordedError) Error() string { return e.text }
func (e *wordedError) Unwrap() error { return e.err }

// phrases are what the library says, and what is said instead.
var phrases = []struct {
	pattern *regexp.Regexp
	instead string
}{
	{regexp.MustCompile(`reading manifest \S+ in \S+: `), "read manifest: "},
	{regexp.MustCompile(`reading blob \S+ in \S+: `), ""},
	{regexp.MustCompile(`pinging container registry \S+: `), ""},
	{regexp.MustCompile(`fetching blob: `), ""},
	{regexp.MustCompile(`readLoopPeekFailLocked: `), ""},
	{regexp.MustCompile(`received unexpected HTTP status: `), ""},
	{regexp.MustCompile(`unable to retrieve auth token: invalid username/password: `), "no token was given: "},
	{regexp.MustCompile(`Requesting bearer token: |Trying to obtain access token: `), "request a token: "},
	{regexp.MustCompile("error getting credentials - err: (.*), out: ``"), "$1"},
	{regexp.MustCompile("error getting credentials - err: (.*), out: `([^`]*)`"), "$1: $2"},
	{regexp.MustCompile(`(?:loading registries configuration: )?loading registries configuration "([^"]*)"`), "read $1"},
	{regexp.MustCompile(`exceeded maximum allowed size of (\d+) bytes`), "the registry's answer is longer than $1 bytes"},
	{regexp.MustCompile(`server provided \d+ signatures, assuming that's unreasonable and a server error`), fmt.Sprintf("there are more than %d", manifest.MaxSignatures)},
	{regexp.MustCompile(`((?:Patch|Post|Put) "[^"?]*)\?[^"]*"`), `$1"`}, // it may be signed, or say where an upload is
	{regexp.MustCompile(`(StatusCode: \d{3}), ""`), "$1"},
	{regexp.MustCompile(`(StatusCode: \d{3}), "`), `$1: "`},
}

// statusCode is how the library prints the status of an answer whose body it could not decode.
var statusCode = regexp.MustCompile(`StatusCode: (\d{3})`)

// reword drops what is said twice, the target's name and the names of the library's functions,
// and says a status as HTTP does.
func reword(err error) error {
	if err == nil {
		return nil
	}
	if sent, ok := err.(*url.Error); ok && isWire(sent.Err) { //nolint:errorlint // one that is wrapped has more to say
		if what := askedFor(sent); what != "" {
			return &wordedError{what + sent.Err.Error(), err}
		}
		return sent.Err // of wire, which says the rest
	}
	err = unreadable(err)
	text := onlyHost(err.Error(), err)
	for _, p := range phrases {
		text = p.pattern.ReplaceAllString(text, p.instead)
	}
	text = statusCode.ReplaceAllStringFunc(text, func(s string) string {
		code, _ := strconv.Atoi(s[len(s)-3:])
		return statusLine(code)
	})
	if text = progress.Redact(text); text == err.Error() {
		return err
	}
	return &wordedError{text, err}
}

// askedFor says what a request was for, where its error does not.
func askedFor(sent *url.Error) string {
	u, err := url.Parse(sent.URL)
	var other *ElsewhereError
	var moved *redirectedError
	switch {
	case err != nil:
	case errors.As(sent.Err, &other) && !errors.As(sent.Err, &moved):
		return other.Host + ": "
	case strings.Contains(u.Path, "/manifests/") && (sent.Op == "Get" || sent.Op == "Head"):
		return "read manifest: "
	case !strings.HasPrefix(u.Path, "/v2/") && (sent.Op == "Post" || u.Query().Has("scope")):
		return "request a token: "
	}
	return ""
}

func isWire(err error) bool {
	var status *StatusError
	return errors.As(err, &status) || errors.Is(err, ErrRange) || errors.Is(err, ErrContent)
}

func statusLine(code int) string {
	if name := http.StatusText(code); name != "" {
		return fmt.Sprintf("%d %s", code, name)
	}
	return fmt.Sprintf("status %d", code)
}
