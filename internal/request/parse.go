package request

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

// Defaults of Options. The schemas document them; a test compares.
const (
	defaultRetries       = 5
	defaultTimeout       = 300 * time.Second
	defaultStallTimeout  = 30 * time.Second
	defaultHeaderTimeout = 120 * time.Second
	defaultMaxParallel   = 6
)

// parseDigest accepts only sha256 in lower case and no surrounding text, since the result may become part of a path.
func parseDigest(s string) (digest.Digest, bool) {
	hex, ok := strings.CutPrefix(s, "sha256:")
	if !ok || len(hex) != 64 || strings.Trim(hex, "0123456789abcdef") != "" {
		return "", false
	}
	return digest.Digest(s), true
}

func notDigest(v any) string {
	return "must be sha256: and 64 lower-case hexadecimal digits, got " + describe(v)
}

// parsePath returns what is wrong with a path, or "".
func parsePath(s string) string {
	switch {
	case s == "":
		return "is empty: give an absolute path"
	case strings.ContainsRune(s, 0):
		return fmt.Sprintf("has a NUL byte in it: %s", quote(s))
	case !utf8.ValidString(s):
		return fmt.Sprintf("is not valid Unicode: %s", quote(s))
	case !filepath.IsAbs(s):
		return fmt.Sprintf("must be an absolute path, got %s", quote(s))
	}
	return ""
}

// parseName returns what is wrong with an image name, or "". The schema reports an empty name. elsewhere says where
// the digest belongs.
func parseName(s, elsewhere string) string {
	if s == "" {
		return ""
	}
	if i := strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }); i >= 0 {
		return fmt.Sprintf("has a control character in it: %s", quote(s))
	}
	if strings.ContainsFunc(s, unicode.IsSpace) {
		return fmt.Sprintf("has a space in it: %s", quote(s))
	}
	if i := strings.LastIndex(s, "@"); i >= 0 && !strings.HasPrefix(s[i:], "@sha256:") {
		return `has something before an "@": leave out user name and password; podman login keeps them`
	}
	if scheme, _, ok := strings.Cut(s, "://"); ok {
		return fmt.Sprintf("leave out %s: %s", quote(scheme+"://"), quote(s))
	}
	if strings.Contains(s, "@") {
		return fmt.Sprintf("has a digest in it, which belongs %s: %s", elsewhere, quote(s))
	}
	if strings.HasSuffix(s, "/") {
		return fmt.Sprintf("ends with a slash: %s", quote(s))
	}
	if err := CheckHost(s); err != nil {
		return fmt.Sprintf("%v: %s", err, quote(s))
	}
	if _, err := reference.ParseNormalizedNamed(s); err != nil {
		if isUpper(s) {
			return fmt.Sprintf("must be lower case: %s", quote(s))
		}
		return fmt.Sprintf("is not the name of an image: %s", quote(s))
	}
	return ""
}

// simpleName reports whether s is certainly valid. It is a shortcut: parsing a reference takes longer than the rest of
// an item.
func simpleName(s string) bool {
	separated := true // the last character was a separator
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z' || '0' <= c && c <= '9':
			separated = false
		case !separated && (c == '/' || c == '.' || c == '-'):
			separated = true
		default:
			return false
		}
	}
	return !separated && len(s) < 200 && strings.Contains(s, "/")
}

// isUpper reports whether s would be valid in lower case.
func isUpper(s string) bool {
	lower := strings.ToLower(s)
	_, err := reference.ParseNormalizedNamed(lower)
	return lower != s && err == nil
}

// name is parseName, called once per name.
func (d *decoder) name(s, elsewhere string) string {
	if simpleName(s) {
		return ""
	}
	text, ok := d.names[s]
	if !ok {
		text = parseName(s, elsewhere)
		d.names[s] = text
	}
	return text
}

// DefaultOptions returns the options of a request that has none.
func DefaultOptions() Options {
	return Options{
		Retries:       defaultRetries,
		Timeout:       defaultTimeout,
		StallTimeout:  defaultStallTimeout,
		HeaderTimeout: defaultHeaderTimeout,
		MaxParallel:   defaultMaxParallel,
	}
}

// options validates the options, null included, and fills in the defaults.
func (d *decoder) options() Options {
	fields, _ := d.envelope["options"].(map[string]any)
	if fields != nil && !check(d.schemas.options, fields, &d.found, "options") {
		return Options{}
	}
	o := DefaultOptions()
	number := func(key string, set func(int)) {
		n, ok := fields[key].(json.Number)
		if !ok {
			return
		}
		v, err := strconv.Atoi(n.String())
		if err != nil {
			d.found.add(joinPath("options", key), "must be a whole number, got %s", n)
			return
		}
		set(v)
	}
	number("retries", func(v int) { o.Retries = v })
	number("timeout", func(v int) { o.Timeout = time.Duration(v) * time.Second })
	number("stall-timeout", func(v int) { o.StallTimeout = time.Duration(v) * time.Second })
	number("header-timeout", func(v int) { o.HeaderTimeout = time.Duration(v) * time.Second })
	number("max-parallel", func(v int) { o.MaxParallel = v })
	return o
}
