package registry

import (
	"bytes"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// Catcher is a server that is not a registry: the place a redirect leads to. It
// records what reaches it, credentials above all.
type Catcher struct {
	*Faults

	mu    sync.Mutex
	files map[string][]byte
}

// NewCatcher serves until the test ends. What was not given to Serve is 404.
func NewCatcher(t testing.TB, opts ...Option) *Catcher {
	t.Helper()
	c := &Catcher{files: map[string][]byte{}}
	c.Faults = startFaults(t, http.HandlerFunc(c.file), nil, opts)
	return c
}

// Serve makes a body available below every path that ends in suffix, such as a
// digest.
func (c *Catcher) Serve(suffix string, body []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.files[suffix] = body
}

func (c *Catcher) file(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for suffix, body := range c.files {
		if strings.HasSuffix(r.URL.Path, suffix) {
			w.Header().Set("Content-Type", "application/octet-stream")
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
			return
		}
	}
	http.NotFound(w, r)
}
