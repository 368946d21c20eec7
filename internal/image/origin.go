package image

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http/httptrace"
	"net/url"
	"regexp"
	"sync"
)

// origins are the hosts, each with its port, that the library meant to send a request to. Whatever
// else is connected to is where a redirect led.
var origins sync.Map

// requestText is how the library logs a request before it sends it.
var requestText = regexp.MustCompile(`^(?:GET|POST|HEAD) (https?://\S+)$`)

func noteOrigin(message string) {
	if m := requestText.FindStringSubmatch(message); m != nil {
		if u, err := url.Parse(m[1]); err == nil {
			origins.Store(hostPort(u), true)
		}
	}
}

// hostPort is what a connection for u is called by net/http/httptrace.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// leakError is a redirect that would have taken credentials along.
type leakError struct{ to string }

func (e *leakError) Error() string {
	return fmt.Sprintf("the registry redirects to %s, where the credentials for it do not belong; they were not sent", e.to)
}

// guard is a context for what the library does before its client can be hooked.
//
// net/http takes credentials along to another port, to a subdomain and from https to http; a
// connection that is about to carry them to where the library did not mean to send them is
// closed instead, before they leave the buffer. The library reads all of an answer that is an
// error; one that has no end is cut off.
func guard(ctx context.Context) (guarded context.Context, done func(error) error) {
	moved := onArrival(ctx)
	ctx, cancel := context.WithCancelCause(ctx)
	m := &meter{moved: moved, tooLong: func() { cancel(tooLongError{}) }}
	var (
		mu   sync.Mutex
		to   string
		conn net.Conn
	)
	trace := &httptrace.ClientTrace{
		GetConn: func(hostPort string) {
			mu.Lock()
			defer mu.Unlock()
			to, conn = hostPort, nil
			m.set(nil)
		},
		GotConn: func(info httptrace.GotConnInfo) {
			mu.Lock()
			defer mu.Unlock()
			conn = info.Conn
			m.set(conn)
		},
		WroteHeaderField: func(key string, _ []string) {
			mu.Lock()
			defer mu.Unlock()
			if _, meant := origins.Load(to); key != "Authorization" || meant || conn == nil {
				return
			}
			_ = conn.Close()
			cancel(&leakError{to})
		},
	}
	stop := m.run()
	return httptrace.WithClientTrace(ctx, trace), func(err error) error {
		stop()
		if cause := context.Cause(ctx); err != nil && isOurs(cause) {
			err = cause
		}
		cancel(nil)
		return err
	}
}

// isOurs says that guard itself has ended what the library did.
func isOurs(cause error) bool {
	var leak *leakError
	var long tooLongError
	return errors.As(cause, &leak) || errors.As(cause, &long)
}
