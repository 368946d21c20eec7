package request

import (
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxShown is the maximum length of a caller's text in a message, in bytes.
const maxShown = 120

// joinPath formats the path of a value. Keys with a dot, space or control character are quoted.
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

// quote returns a caller's text quoted, on one line, cut to maxShown.
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

// describe formats a JSON value for a message; of an object or a list it returns only the kind.
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
