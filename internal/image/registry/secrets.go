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

// userNames are those that were sent. A name may be a part of an image's name, so it is hidden only in what a
// registry says.
var userNames sync.Map

// noLogin is an empty name with an empty password, in base64: the library sends it where it has no credentials.
const noLogin = "Og=="

// hideCredentials hides what a request carries as credentials from all messages, since a registry may say them again.
// It reports whether there are any by which a user logs in, which a token is not.
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
	form, err := io.ReadAll(req.Body) // for a token: the library has made it
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

// hasForm reports whether a request has a form as its body, as requests for tokens have.
func hasForm(req *http.Request) bool {
	return req.Body != nil && req.Header.Get("Content-Type") == "application/x-www-form-urlencoded"
}

// hideUsers hides the names of users in what a registry says.
func hideUsers(text string) string {
	userNames.Range(func(name, _ any) bool {
		text = progress.ReplaceWord(text, name.(string))
		return true
	})
	return text
}

// redirectedError is an error of a request that a redirect led to a host. More than the host may be a key to what is
// there.
type redirectedError struct {
	host string
	err  error
}

func (e *redirectedError) Error() string { return fmt.Sprintf("redirected to %s: %v", e.host, e.err) }
func (e *redirectedError) Unwrap() error { return e.err }

// redirected marks the error of a request that is a redirect's.
func redirected(req *http.Request, err error) error {
	if req.Response == nil {
		return err
	}
	return &redirectedError{req.URL.Host, err}
}

// onlyHost takes the URL of a redirect from the text of an error, which says the host.
func onlyHost(text string, err error) string {
	var moved *redirectedError
	var sent *url.Error
	if errors.As(err, &moved) && errors.As(err, &sent) {
		text = strings.ReplaceAll(text, fmt.Sprintf("%s %q: ", sent.Op, sent.URL), "")
	}
	return text
}
