package registry

import (
	"net/http"
	"regexp"
	"sync/atomic"
	"time"
)

// Request is one request that reached a server, and what became of it.
type Request struct {
	Method        string
	Path          string
	Query         string
	Host          string // as the client named it
	Range         string // "" when it asked for everything
	Authorization string // "" when there was none
	Header        http.Header
	Time          time.Time
	Status        int   // 0: none yet, or the connection was cut before it
	Bytes         int64 // of the body, sent so far
}

type record struct {
	request Request
	status  atomic.Int64
	bytes   atomic.Int64
}

func newRecord(r *http.Request) *record {
	return &record{request: Request{
		Method:        r.Method,
		Path:          r.URL.Path,
		Query:         r.URL.RawQuery,
		Host:          r.Host,
		Range:         r.Header.Get("Range"),
		Authorization: r.Header.Get("Authorization"),
		Header:        r.Header.Clone(),
		Time:          time.Now(),
	}}
}

func (rec *record) serve(h http.Handler, w http.ResponseWriter, r *http.Request) {
	h.ServeHTTP(&response{
		ResponseWriter: w,
		onHeader: func(status int, _ http.Header) int {
			rec.status.Store(int64(status))
			return status
		},
		onWrite: func(p []byte, write func([]byte) error) error {
			err := write(p)
			if err == nil {
				rec.bytes.Add(int64(len(p)))
			}
			return err
		},
	}, r)
}

// Requests returns all requests in the order they came.
func (f *Faults) Requests() []Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]Request, len(f.records))
	for i, rec := range f.records {
		out[i] = rec.request
		out[i].Status = int(rec.status.Load())
		out[i].Bytes = rec.bytes.Load()
	}
	return out
}

// Matching returns the requests that m selects.
func (f *Faults) Matching(m Match) []Request {
	var out []Request
	seen := 0
	for _, r := range f.Requests() {
		if (m.method == "" || m.method == r.Method) && (m.path == nil || m.path.MatchString(r.Path)) {
			if seen++; m.turn(seen) {
				out = append(out, r)
			}
		}
	}
	return out
}

// BytesSent sums the bytes of the bodies sent for GET requests whose path
// contains the regular expression.
func (f *Faults) BytesSent(path string) int64 {
	re := regexp.MustCompile(path)
	var sum int64
	for _, r := range f.Requests() {
		if r.Method == http.MethodGet && re.MatchString(r.Path) {
			sum += r.Bytes
		}
	}
	return sum
}
