package progress

import (
	"regexp"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"
)

const (
	maxLine = 8000 // bytes of a line; osbuild truncates at 31,000 characters
	maxName = 1000 // bytes of an item's name
	maxText = 4 * maxLine
)

// Clean makes foreign text safe to show as one line: it hides apparent credentials, escapes unprintable characters,
// replaces line breaks, and limits the length. Everything that this package writes has passed through it; text
// shown elsewhere, as in a reply, should too.
func Clean(s string) string {
	if len(s) > maxText { // to limit the work; it does not replace cutting the line
		s = s[:maxText]
	}
	return CleanAll(s)
}

// CleanAll is Clean without a limit on the length.
func CleanAll(s string) string { return printable(Redact(strings.TrimSpace(s))) }

// Redact replaces the secrets given to Hide, and apparent credentials, by stars, and removes query and fragment
// from URLs.
func Redact(s string) string { return redact(hideSecrets(s)) }

// printable replaces line breaks and tabs by spaces, and quotes other characters that a terminal or log viewer
// could interpret (controls, bidirectional marks, invalid UTF-8) as Go does.
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

// plain reports whether s is ASCII that needs no changes.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// cut shortens a line to size bytes, at the end of a rune, and marks that it did.
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

// A secret is a pattern for text with a credential, its replacement, and, if harmless text can match as well, a
// function that recognizes it by the last group of the pattern.
type secret struct {
	pattern *regexp.Regexp
	instead string
	unless  func(word string) bool
}

// secrets are compiled on first use. The value of a credential ends at a space, a quote or a separator.
var secrets = sync.OnceValue(func() []secret {
	return []secret{
		// https://user:password@host, but not docker://fedora@sha256:…
		{regexp.MustCompile(`://[^\s/?#"'<>]+@([a-z0-9]*:?)`), "://***@${1}", isAlgorithm},
		// query and fragment of a URL may contain a key
		{regexp.MustCompile(`(https?://[^\s?#"'<>\\]*)[?#][^\s"'<>\\]*`), "${1}", nil},
		{regexp.MustCompile(`\b((?:Get|Head|Post|Put|Patch|Delete|parse) \\?"[^\s?#"'<>\\]*)[?#][^\s"'<>\\]*`), "${1}", nil},
		{regexp.MustCompile(`(Location header )"(?:[^"\\]|\\.)*"`), "${1}\"***\"", nil},
		// Bearer …, as in an HTTP header
		{regexp.MustCompile(`(?i)\b((?:bearer|basic)\s+)([^\s"',;\\\]]+)`), "${1}***", isProse},
		// Authorization: …
		{regexp.MustCompile(`(?i)(authorization\\?["']?\s*[:=]\s*\[?\\?["']?(?:(?:basic|bearer|digest|negotiate)\s+)?)[^\s"',;\\\]]+`), "${1}***", nil},
		// token=…, and the parameters that sign URLs of object stores
		{regexp.MustCompile(`(?i)((?:token|passwd|password|secret|signature|credential|\bsig|\bpwd|api_?key)=\\?["']?)[^\s&"',;\\]+`), "${1}***", nil},
		// {"token": "…"}, then the same inside a quoted string
		{regexp.MustCompile(`(?i)("[\w-]*(?:token|password|secret|\bauth)"\s*:\s*")(?:[^"\\]|\\.)+`), "${1}***", nil},
		{regexp.MustCompile(`(?i)("[\w-]*(?:token|password|secret|\bauth)\\"\s*:\s*\\")(?:[^"\\]|\\\\(?:\\\\|\\"|[^"\\]))+`), "${1}***", nil},
	}
})

// redact replaces apparent credentials by stars. It is a second line of defence: no credential should be put into a
// message in the first place.
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

// isAlgorithm reports whether word is the algorithm of a digest after "@", rather than a host.
func isAlgorithm(word string) bool {
	return word == "sha256:" || word == "sha512:"
}

// isProse reports whether the word after "bearer" or "basic" is ordinary text, as in "requesting bearer token: …"
// or "basic auth", rather than a credential in an HTTP header.
func isProse(word string) bool {
	word = strings.ToLower(strings.TrimRight(word, ".:)"))
	switch word {
	case "token", "tokens", "auth", "authentication", "authorization":
		return true
	}
	return strings.HasPrefix(word, "realm=") // a challenge
}
