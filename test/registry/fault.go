package registry

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Fault changes how a server answers a request.
type Fault func(next http.Handler) http.Handler

// Status answers with a status, a body and headers given as name, value, …. The
// body counts as HTML when it begins with "<", as JSON when with "{".
func Status(status int, body string, headers ...string) Fault {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			switch {
			case strings.HasPrefix(body, "<"):
				w.Header().Set("Content-Type", "text/html")
			case strings.HasPrefix(body, "{"):
				w.Header().Set("Content-Type", "application/json")
			}
			for i := 0; i+1 < len(headers); i += 2 {
				w.Header().Set(headers[i], headers[i+1])
			}
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body) // the client may be gone
		})
	}
}

// Error answers as a registry does: a JSON body with a code such as
// MANIFEST_UNKNOWN and a message.
func Error(status int, code, message string, headers ...string) Fault {
	return Status(status, fmt.Sprintf(`{"errors":[{"code":%q,"message":%q}]}`, code, message), headers...)
}

// Body answers 200 with this content; it honours ranges and HEAD.
func Body(contentType string, body []byte) Fault {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", contentType)
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
		})
	}
}

// Handle answers with another handler.
func Handle(h http.Handler) Fault { return func(http.Handler) http.Handler { return h } }

// Redirect answers with 307 to a base URL ("http://host:port") and the same path.
func Redirect(base string) Fault {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, base+r.URL.RequestURI(), http.StatusTemporaryRedirect)
		})
	}
}

// RedirectLoop answers with 307 to where the request came to.
func RedirectLoop() Fault {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.RequestURI(), http.StatusTemporaryRedirect)
		})
	}
}

// Delay waits before the request is looked at.
func Delay(d time.Duration) Fault {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-time.After(d):
				next.ServeHTTP(w, r)
			case <-r.Context().Done():
			}
		})
	}
}

// Silence takes the request and never answers.
func Silence() Fault {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { waitForClose(r) })
	}
}

// Reset breaks the connection, with a TCP reset, before the answer.
func Reset() Fault {
	return func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { reset(w) })
	}
}

// IgnoreRange answers requests for a range with 200 and everything.
func IgnoreRange() Fault {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r = r.Clone(r.Context())
			r.Header.Del("Range")
			next.ServeHTTP(&response{ResponseWriter: w, onHeader: func(status int, h http.Header) int {
				h.Del("Accept-Ranges")
				return status
			}}, r)
		})
	}
}

// Header sets a header of the answer, or removes it when value is "". With
// a Content-Length above the true one the connection ends early; for one below it
// there is TooShort.
func Header(name, value string) Fault {
	return onHeader(func(_ *http.Request, status int, h http.Header) int {
		if value == "" {
			h.Del(name)
		} else {
			h.Set(name, value)
		}
		return status
	})
}

// WrongContentRange answers a request for a range with another range than asked
// for: one that begins shift bytes later. The body is the right one.
func WrongContentRange(shift int64) Fault {
	return onHeader(func(_ *http.Request, status int, h http.Header) int {
		if first, last, size, ok := contentRange(h); ok {
			h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first+shift, last+shift, size+shift))
		}
		return status
	})
}

// RangeNotSatisfiable answers requests for a range with 416.
func RangeNotSatisfiable() Fault {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Range") == "" {
				next.ServeHTTP(w, r)
				return
			}
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
		})
	}
}

func onHeader(hook func(r *http.Request, status int, h http.Header) int) Fault {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(&response{ResponseWriter: w, onHeader: func(status int, h http.Header) int {
				return hook(r, status, h)
			}}, r)
		})
	}
}

// contentRange parses "bytes first-last/size".
func contentRange(h http.Header) (first, last, size int64, ok bool) {
	_, err := fmt.Sscanf(h.Get("Content-Range"), "bytes %d-%d/%d", &first, &last, &size)
	return first, last, size, err == nil
}

func contentLength(h http.Header) int64 {
	n, err := strconv.ParseInt(h.Get("Content-Length"), 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// reset closes the connection so that the kernel sends RST.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	raw := conn
	if wrapped, ok := conn.(interface{ NetConn() net.Conn }); ok { // tls.Conn
		raw = wrapped.NetConn()
	}
	if tcp, ok := raw.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = raw.Close()
}
