package internals

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"

	"osbuild-containers/internal/manifest"
)

// Only this file reads the texts of the library's errors, which are assumed to consist of the phrases below. If one
// changes, messages get longer, and a status found only in the text is missed, so that a transient error becomes final.
// TestTexts fails then.

// phrases maps phrases of the library to replacements.
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
	{regexp.MustCompile(`((?:Patch|Post|Put) "[^"?]*)\?[^"]*"`), `$1"`}, // the query may be signed, or identify an upload
	{regexp.MustCompile(`(StatusCode: \d{3}), ""`), "$1"},
	{regexp.MustCompile(`(StatusCode: \d{3}), "`), `$1: "`},
}

// statusCode matches the status of an answer whose body the library could not decode.
var statusCode = regexp.MustCompile(`StatusCode: (\d{3})`)

// Shorten returns the text of a library error without function names and repetitions, and with statuses as in HTTP.
func Shorten(text string) string {
	for _, p := range phrases {
		text = p.pattern.ReplaceAllString(text, p.instead)
	}
	return statusCode.ReplaceAllStringFunc(text, func(s string) string { return StatusLine(Status(s)) })
}

// Status returns the HTTP status in the text of a library error, or 0.
func Status(text string) int {
	m := statusCode.FindStringSubmatch(text)
	if m == nil {
		return 0
	}
	code, _ := strconv.Atoi(m[1])
	return code
}

// StatusLine returns a status with its name, as in HTTP.
func StatusLine(code int) string {
	if name := http.StatusText(code); name != "" {
		return fmt.Sprintf("%d %s", code, name)
	}
	return fmt.Sprintf("status %d", code)
}

// fileNames matches the file name in an error of the library or the kernel.
var fileNames = regexp.MustCompile(`reading JSON file "[^"]*": |unmarshaling JSON at "[^"]*": |\b(open|read) /[^:]*: `)

// WithoutFile removes the file name from an error about a credentials file.
func WithoutFile(text string) string { return fileNames.ReplaceAllString(text, "") }
