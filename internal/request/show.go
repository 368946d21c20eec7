package request

import (
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxShown is how many bytes of a caller's text a message shows.
const maxShown = 120

// joinPath writes where in the JSON a value is. A strange key is quoted.
func joinPath(keys ...string) string {
	var b strings.Builder
	for i, key := range keys {
		if i > 0 {
			b.WriteByte('.')
		}
		if plainKey(key) {
			b.WriteString(key)
		} else {
			b.WriteString(quote(key))
		}
	}
	return b.String()
}

func plainKey(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c > '~' || c == '"' || c == '.' {
			return false
		}
	}
	return s != "" && len(s) <= maxShown
}

// quote shows a caller's text on one line, and not all of it when it is long.
func quote(s string) string { return strconv.Quote(cut(s)) }

func cut(s string) string {
	if len(s) <= maxShown {
		return s
	}
	end := maxShown
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}

// describe shows a JSON value in a message, or says of what kind it is.
func describe(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return strconv.FormatBool(v)
	case json.Number:
		return v.String()
	case string:
		return quote(v)
	case []any:
		return "a list"
	default:
		return "an object"
	}
}
