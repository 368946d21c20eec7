package registry

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"osbuild-containers/internal/progress"
)

// userNames are the user names that were sent. A name may also be part of an image's name, so it is hidden only in
// texts from a registry.
var userNames sync.Map

// noLogin is an empty user name and password in base64, sent by the library if it has no credentials.
const noLogin = "Og=="

// hideCredentials hides a request's credentials in all messages, since a registry may echo them. login is true if they
// include a user's login and not only a token.
func hideCredentials(req *http.Request) (login bool, err error) {
	scheme, value, _ := strings.Cut(req.Header.Get("Authorization"), " ")
	if value != noLogin {
		progress.Hide(value)
	}
	if strings.EqualFold(scheme, "Basic") && value != noLogin {
		if plain, err := base64.StdEncoding.DecodeString(value); err == nil {
			login = true
			user, password, _ := strings.Cut(string(plain), ":")
			progress.Hide(string(plain))
			progress.Hide(password)
			if user != "" {
				userNames.Store(user, true)
			}
		}
	}
	if !hasForm(req) {
		return login, nil
	}
	form, err := io.ReadAll(req.Body) // a token request, made by the library
	if err != nil {
		return login, err
	}
	req.Body = io.NopCloser(bytes.NewReader(form))
	if values, err := url.ParseQuery(string(form)); err == nil {
		progress.Hide(values.Get("refresh_token"))
		progress.Hide(values.Get("password"))
		login = true
	}
	return login, nil
}

// hasForm reports whether the body of a request is a form, as in token requests.
func hasForm(req *http.Request) bool {
	return req.Body != nil && req.Header.Get("Content-Type") == "application/x-www-form-urlencoded"
}

// hideUsers hides user names in text from a registry.
func hideUsers(text string) string {
	userNames.Range(func(name, _ any) bool {
		text = progress.ReplaceWord(text, name.(string))
		return true
	})
	return text
}

// redirectedError is an error of a redirected request. It names only the host, since the rest of the URL may be a secret.
type redirectedError struct {
	host string
	err  error
}

func (e *redirectedError) Error() string { return fmt.Sprintf("redirected to %s: %v", e.host, e.err) }
func (e *redirectedError) Unwrap() error { return e.err }

// redirected marks the error of a redirected request.
func redirected(req *http.Request, err error) error {
	if req.Response == nil {
		return err
	}
	return &redirectedError{req.URL.Host, err}
}

// onlyHost removes the URL of a redirect from an error's text, which then names the host.
func onlyHost(text string, err error) string {
	var moved *redirectedError
	var sent *url.Error
	if errors.As(err, &moved) && errors.As(err, &sent) {
		text = strings.ReplaceAll(text, fmt.Sprintf("%s %q: ", sent.Op, sent.URL), "")
	}
	return text
}
