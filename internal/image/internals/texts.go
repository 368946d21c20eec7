package internals

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"

	"osbuild-containers/internal/manifest"
)

// The texts of the library's errors are read in this file only. It is assumed that they are made of the
// phrases below. When one changes, messages get longer, and a status that only the text has is not seen: an error
// that may pass is then final. TestTexts fails.

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

// Shorten returns the text of an error of the library without the names of its functions and what is said twice, and
// with a status as HTTP names it.
func Shorten(text string) string {
	for _, p := range phrases {
		text = p.pattern.ReplaceAllString(text, p.instead)
	}
	return statusCode.ReplaceAllStringFunc(text, func(s string) string { return StatusLine(Status(s)) })
}

// Status returns the HTTP status that the text of an error of the library names, 0 for none.
func Status(text string) int {
	m := statusCode.FindStringSubmatch(text)
	if m == nil {
		return 0
	}
	code, _ := strconv.Atoi(m[1])
	return code
}

// StatusLine returns a status with its name, as HTTP has it.
func StatusLine(code int) string {
	if name := http.StatusText(code); name != "" {
		return fmt.Sprintf("%d %s", code, name)
	}
	return fmt.Sprintf("status %d", code)
}

// fileNames are where an error of the library, or of the kernel, says which file it is about.
var fileNames = regexp.MustCompile(`reading JSON file "[^"]*": |unmarshaling JSON at "[^"]*": |\b(open|read) /[^:]*: `)

// WithoutFile returns the text of an error about a file of credentials without the name of the file.
func WithoutFile(text string) string { return fileNames.ReplaceAllString(text, "") }
