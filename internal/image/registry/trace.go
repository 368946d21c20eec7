package registry

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// exchange sends a request. At the debug level it logs the request when it is sent, and its response when that was read
// or abandoned. Neither shows more of the URL than visibleURL.
func (t *transport) exchange(req *http.Request, other string) (*http.Response, error) {
	ctx := req.Context()
	if !slog.Default().Enabled(ctx, slog.LevelDebug) {
		return t.RoundTripper.RoundTrip(req)
	}
	log := slog.With("method", req.Method, "url", visibleURL(req.URL, other != ""))
	var more []any
	if from := req.Header.Get("Range"); from != "" {
		more = append(more, "range", from)
	}
	if req.Header.Get("Authorization") != "" || hasForm(req) {
		more = append(more, "credentials", "sent")
	}
	log.DebugContext(ctx, "request", more...)
	began := time.Now()
	resp, err := t.RoundTripper.RoundTrip(req)
	if err != nil {
		log.DebugContext(ctx, "no answer", "error", onlyReason(err), "took", since(began))
		return nil, err
	}
	b := &tracedBody{ReadCloser: resp.Body}
	headers, status := since(began), resp.StatusCode
	b.end = func(err error) {
		more := []any{"status", status, "bytes", b.n.Load(), "headers", headers, "took", since(began)}
		if place, err := resp.Location(); err == nil {
			more = append(more, "location", visibleURL(place, true))
		}
		if err != nil {
			more = append(more, "error", onlyReason(err))
		}
		log.DebugContext(ctx, "answer", more...)
	}
	resp.Body = b
	return resp, nil
}

func since(t time.Time) time.Duration { return time.Since(t).Round(time.Millisecond) }

// visibleURL returns what may be shown of a URL. A user, a query and a fragment may be a key to what is there, and the
// path, too, where it is not the registry's.
func visibleURL(u *url.URL, other bool) string {
	shown := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	if other {
		shown.Path = "/…"
		return shown.Scheme + "://" + shown.Host + shown.Path
	}
	return shown.String()
}

// onlyReason returns the text of an error without a URL in it.
func onlyReason(err error) string {
	if sent, ok := errors.AsType[*url.Error](err); ok {
		err = sent.Err
	}
	return err.Error()
}

// tracedBody is the body of a response. It calls end once: at its end, when it is closed, or at an error, with that. Close
// may be called during Read.
type tracedBody struct {
	io.ReadCloser
	n    atomic.Int64 // bytes read
	once sync.Once
	end  func(error)
}

// Read implements io.Reader.
func (b *tracedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n.Add(int64(n))
	if errors.Is(err, io.EOF) {
		b.finish(nil)
	} else if err != nil {
		b.finish(err)
	}
	return n, err
}

// Close implements io.Closer.
func (b *tracedBody) Close() error {
	b.finish(nil)
	return b.ReadCloser.Close()
}

func (b *tracedBody) finish(err error) { b.once.Do(func() { b.end(err) }) }
