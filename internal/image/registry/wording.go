package registry

import (
	"errors"
	"net/url"
	"strings"

	"osbuild-containers/internal/image/internals"
	"osbuild-containers/internal/progress"
)

// wordedError is a reworded error of the library.
type wordedError struct {
	text string
	err  error
}

func (e *wordedError) Error() string { return e.text }
func (e *wordedError) Unwrap() error { return e.err }

// reword removes repetitions, the target's name and function names of the library, and writes statuses as in HTTP.
func reword(err error) error {
	if err == nil {
		return nil
	}
	if sent, ok := err.(*url.Error); ok && isResponseError(sent.Err) { //nolint:errorlint // a wrapped one has more context
		if what := askedFor(sent); what != "" {
			return &wordedError{what + sent.Err.Error(), err}
		}
		return sent.Err // the error of transport is sufficient
	}
	err = unreadable(err)
	text := internals.Shorten(onlyHost(err.Error(), err))
	if text = progress.Redact(text); text == err.Error() {
		return err
	}
	return &wordedError{text, err}
}

// askedFor returns what a request was for, if its error does not say.
func askedFor(sent *url.Error) string {
	u, err := url.Parse(sent.URL)
	var other *elsewhereError
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

func isResponseError(err error) bool {
	var status *StatusError
	return errors.As(err, &status) || errors.Is(err, ErrRange) || errors.Is(err, ErrContent)
}
