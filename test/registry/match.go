package registry

import (
	"net/http"
	"regexp"
)

// Match selects requests; the zero Match selects all.
type Match struct {
	method  string
	path    *regexp.Regexp
	from    int // 1 is the first; 0: from the first on
	through int // 0: to the last
}

// Any matches every method, and paths in which the regular expression is found.
func Any(path string) Match { return Match{path: regexp.MustCompile(path)} }

// Get matches GET requests for paths in which the regular expression is found.
func Get(path string) Match { return Method(http.MethodGet, path) }

// Method matches one method, and paths in which the regular expression is found.
func Method(method, path string) Match {
	return Match{method: method, path: regexp.MustCompile(path)}
}

// Blob matches GET requests for the blob with this digest.
func Blob(digest string) Match { return Get(`/blobs/` + regexp.QuoteMeta(digest) + `$`) }

// Manifest matches GET requests for the manifest with this digest or tag.
func Manifest(ref string) Match { return Get(`/manifests/` + regexp.QuoteMeta(ref) + `$`) }

// Nth narrows the match to the nth of the requests that match, counted from 1.
func (m Match) Nth(n int) Match { return m.From(n).First(n) }

// First narrows the match to the first n of the requests that match.
func (m Match) First(n int) Match {
	m.through = n
	return m
}

// From narrows the match to the nth request that matches and all after it.
func (m Match) From(n int) Match {
	m.from = n
	return m
}

func (m Match) request(r *http.Request) bool {
	return (m.method == "" || m.method == r.Method) && (m.path == nil || m.path.MatchString(r.URL.Path))
}

func (m Match) turn(n int) bool {
	return n >= m.from && (m.through == 0 || n <= m.through)
}
