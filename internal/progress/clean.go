package progress

import (
	"regexp"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

const (
	maxLine = 8000 // bytes of a line; osbuild cuts at 31,000 characters
	maxName = 1000 // bytes of an item's name
	maxText = 4 * maxLine
)

// Clean makes text from outside fit to be shown as one line: without what looks like a
// credential, printable, without line breaks, and not endless. All that this package
// writes has gone through it; what is shown elsewhere, as in a reply, should too.
func Clean(s string) string {
	if len(s) > maxText { // before the work, not instead of cutting the line
		s = s[:maxText]
	}
	return printable(Redact(strings.TrimSpace(s)))
}

// Redact replaces the secrets that Hide was told of, and what looks like a credential, by stars, and takes query and
// fragment from URLs.
func Redact(s string) string { return redact(hideSecrets(s)) }

// printable writes line breaks and tabs as a space, and whatever else a terminal
// or a log viewer could take for more than text (controls, bidirectional marks,
// invalid UTF-8) as Go would write it in a string.
func printable(s string) string {
	if plain(s) {
		return s
	}
	out := make([]byte, 0, len(s)+len(s)/4)
	for len(s) > 0 {
		r, n := utf8.DecodeRuneInString(s)
		switch {
		case r == '\n' || r == '\t':
			out = append(out, ' ')
		case r == '\r' && strings.HasPrefix(s[n:], "\n"):
		case r == utf8.RuneError && n == 1:
			out = append(out, '\\', 'x', "0123456789abcdef"[s[0]>>4], "0123456789abcdef"[s[0]&15])
		case strconv.IsPrint(r):
			out = append(out, s[:n]...)
		default:
			quoted := strconv.AppendQuoteRune(nil, r)
			out = append(out, quoted[1:len(quoted)-1]...)
		}
		s = s[n:]
	}
	return string(out)
}

// plain reports whether s is ASCII that needs no work.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// cut shortens a line, at a rune's end, to size bytes and marks that it did.
func cut(line []byte, size int) []byte {
	const mark = "…"
	if len(line) <= size {
		return line
	}
	end := size - len(mark)
	for end > 0 && !utf8.RuneStart(line[end]) {
		end--
	}
	return append(line[:end], mark...)
}

// A secret is a pattern of text that holds a credential, what is written instead,
// and, where text that holds none looks the same, the words that tell (the last
// group of the pattern is looked up).
type secret struct {
	pattern *regexp.Regexp
	instead string
	unless  func(word string) bool
}

// secrets are compiled when there is text to look at for the first time. The value
// of a credential ends at a space, a quote or a separator.
var secrets = sync.OnceValue(func() []secret {
	return []secret{
		// https://user:password@host, but not docker://fedora@sha256:…
		{regexp.MustCompile(`://[^\s/?#"'<>]+@([a-z0-9]*:?)`), "://***@${1}", isAlgorithm},
		// what follows the path of a URL may be a key to it
		{regexp.MustCompile(`(https?://[^\s?#"'<>\\]*)[?#][^\s"'<>\\]*`), "${1}", nil},
		{regexp.MustCompile(`\b((?:Get|Head|Post|Put|Patch|Delete|parse) \\?"[^\s?#"'<>\\]*)[?#][^\s"'<>\\]*`), "${1}", nil},
		{regexp.MustCompile(`(Location header )"(?:[^"\\]|\\.)*"`), "${1}\"***\"", nil},
		// Bearer …, as an HTTP header carries it
		{regexp.MustCompile(`(?i)\b((?:bearer|basic)\s+)([^\s"',;\\\]]+)`), "${1}***", isProse},
		// Authorization: …
		{regexp.MustCompile(`(?i)(authorization\\?["']?\s*[:=]\s*\[?\\?["']?(?:(?:basic|bearer|digest|negotiate)\s+)?)[^\s"',;\\\]]+`), "${1}***", nil},
		// token=…, and the parameters that make a URL of an object store a key to it
		{regexp.MustCompile(`(?i)((?:token|passwd|password|secret|signature|credential|\bsig|\bpwd|api_?key)=\\?["']?)[^\s&"',;\\]+`), "${1}***", nil},
		// {"token": "…"}, also inside a quoted string
		{regexp.MustCompile(`(?i)("[\w-]*(?:token|password|secret|\bauth)\\?"\s*:\s*\\?")[^"\\]+`), "${1}***", nil},
	}
})

// redact replaces what looks like a credential by stars. It is the second line of
// defence: nothing should put one into a message to begin with.
func redact(s string) string {
	if !strings.ContainsAny(s, ":= \t") {
		return s // no pattern can match
	}
	for _, c := range secrets() {
		s = c.pattern.ReplaceAllStringFunc(s, func(match string) string {
			m := c.pattern.FindStringSubmatchIndex(match)
			if m == nil || c.unless != nil && c.unless(match[m[len(m)-2]:m[len(m)-1]]) {
				return match
			}
			return string(c.pattern.ExpandString(nil, c.instead, match, m))
		})
	}
	return s
}

// isAlgorithm reports whether a digest follows the "@" of what could be a host.
func isAlgorithm(word string) bool {
	return word == "sha256:" || word == "sha512:"
}

// isProse reports whether a word after "bearer" or "basic" is not one that an HTTP
// header would have there: "requesting bearer token: …", "basic auth".
func isProse(word string) bool {
	word = strings.ToLower(strings.TrimRight(word, ".:)"))
	switch word {
	case "token", "tokens", "auth", "authentication", "authorization":
		return true
	}
	return strings.HasPrefix(word, "realm=") // the challenge
}
