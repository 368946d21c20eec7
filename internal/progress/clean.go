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

// oneLine makes text from outside fit for a line: without credentials, printable,
// without line breaks, and not endless.
func oneLine(s string) string {
	if len(s) > maxText { // before the work, not instead of cutting the line
		s = s[:maxText]
	}
	return printable(redact(s))
}

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
	return strings.TrimSpace(string(out))
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

// cut shortens a line, at a rune's end, to max bytes and marks that it did.
func cut(line []byte, max int) []byte {
	const mark = "…"
	if len(line) <= max {
		return line
	}
	end := max - len(mark)
	for end > 0 && !utf8.RuneStart(line[end]) {
		end--
	}
	return append(line[:end], mark...)
}

// A secret is a pattern of text that holds a credential, and what is written
// instead.
type secret struct {
	pattern *regexp.Regexp
	instead string
}

// secrets are compiled when there is text to look at for the first time.
var secrets = sync.OnceValue(func() []secret {
	return []secret{
		// https://user:password@host
		{regexp.MustCompile(`://[^\s/?#"'<>]+@`), "://***@"},
		// Authorization: Basic …
		{regexp.MustCompile(`(?i)(authorization\\?["']?\s*[:=]\s*\\?["']?(?:(?:basic|bearer|digest|negotiate)\s+)?)[^\s"',;\\]+`), "${1}***"},
		// token=…, and the parameters that make a URL of an object store a key to it
		{regexp.MustCompile(`(?i)((?:token|passwd|password|secret|signature|credential|\bsig|\bpwd|api_?key)=\\?["']?)[^\s&"',;\\]+`), "${1}***"},
		// {"token": "…"}, also inside a quoted string
		{regexp.MustCompile(`(?i)("[\w-]*(?:token|password|secret|\bauth)\\?"\s*:\s*\\?")[^"\\]+`), "${1}***"},
		// Bearer …
		{regexp.MustCompile(`(?i)\b((?:bearer|basic)\s+)([^\s"',;\\]+)`), ""},
	}
})

// redact replaces what looks like a credential by stars. It is the second line of
// defence: nothing should put one into a message to begin with.
func redact(s string) string {
	if !strings.ContainsAny(s, "@=: ") {
		return s // no pattern can match
	}
	for _, c := range secrets() {
		if c.instead != "" {
			s = c.pattern.ReplaceAllString(s, c.instead)
			continue
		}
		s = c.pattern.ReplaceAllStringFunc(s, func(match string) string {
			m := c.pattern.FindStringSubmatch(match)
			if isProse(m[2]) {
				return match
			}
			return m[1] + "***"
		})
	}
	return s
}

// isProse reports whether a word after "bearer" or "basic" is none that an HTTP
// header would carry there: "requesting bearer token: …", "basic auth".
func isProse(word string) bool {
	word = strings.ToLower(strings.TrimRight(word, ".:)"))
	switch word {
	case "token", "tokens", "auth", "authentication", "authorization":
		return true
	}
	return strings.HasPrefix(word, "realm=") // the challenge
}
