package progress

import (
	"cmp"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// maxHidden limits how many secrets are stored: the passwords in use, and the tokens of the last images.
const maxHidden = 512

// shortSecret is the length in bytes below which a secret is replaced only where it is a whole word: a short
// password is a part of many other words.
const shortSecret = 6

var hidden struct {
	mu     sync.Mutex
	recent []string                 // the latest last
	byLen  atomic.Pointer[[]string] // the longest first
}

// Hide makes Clean and Redact replace a secret, wherever it occurs, by stars.
func Hide(secret string) {
	if secret == "" {
		return
	}
	hidden.mu.Lock()
	defer hidden.mu.Unlock()
	known := slices.Index(hidden.recent, secret)
	if known >= 0 {
		hidden.recent = slices.Delete(hidden.recent, known, known+1)
	}
	hidden.recent = append(hidden.recent, secret)
	if known >= 0 {
		return
	}
	if len(hidden.recent) > maxHidden {
		hidden.recent = slices.Delete(hidden.recent, 0, 1)
	}
	var all []string
	for _, s := range hidden.recent {
		all = append(all, s)
		for _, coded := range []string{url.QueryEscape(s), url.PathEscape(s)} {
			if coded != s {
				all = append(all, coded)
			}
		}
	}
	slices.SortFunc(all, func(a, b string) int { return cmp.Compare(len(b), len(a)) })
	hidden.byLen.Store(&all)
}

// hideSecrets replaces the secrets given to Hide.
func hideSecrets(s string) string {
	all := hidden.byLen.Load()
	if all == nil {
		return s
	}
	for _, secret := range *all {
		switch {
		case !strings.Contains(s, secret):
		case len(secret) < shortSecret:
			s = ReplaceWord(s, secret)
		default:
			s = strings.ReplaceAll(s, secret, "***")
		}
	}
	return s
}

// ReplaceWord replaces a secret by stars, unless it is a part of a longer word.
func ReplaceWord(s, secret string) string {
	var b strings.Builder
	for {
		at := strings.Index(s, secret)
		if at < 0 || secret == "" {
			b.WriteString(s)
			return b.String()
		}
		end := at + len(secret)
		inside := at > 0 && isWord(s[at-1]) && isWord(s[at]) || end < len(s) && isWord(s[end]) && isWord(s[end-1])
		b.WriteString(s[:at])
		if inside {
			b.WriteString(secret)
		} else {
			b.WriteString("***")
		}
		s = s[end:]
	}
}

func isWord(c byte) bool {
	return c == '_' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}
