package registry

import (
	"net/http"
	"sync/atomic"
)

// response is a ResponseWriter whose header and body pass through hooks.
type response struct {
	http.ResponseWriter
	onHeader func(status int, h http.Header) int
	onWrite  func(p []byte, write func([]byte) error) error
	wrote    bool
	cut      atomic.Bool // a hook has ended the answer in its middle
}

// WriteHeader implements http.ResponseWriter.
func (w *response) WriteHeader(status int) {
	if w.wrote || status < 200 { // an informational one is not the answer
		w.ResponseWriter.WriteHeader(status)
		return
	}
	w.wrote = true
	if w.onHeader != nil {
		status = w.onHeader(status, w.Header())
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *response) Write(p []byte) (int, error) {
	if !w.wrote {
		w.WriteHeader(http.StatusOK)
	}
	if w.onWrite == nil {
		return w.ResponseWriter.Write(p)
	}
	w.cut.Store(true) // and it stays so if the hook panics
	err := w.onWrite(p, w.write)
	w.cut.Store(false)
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// FlushError implements what http.ResponseController looks for. The proxy's timer may come when the
// connection is not the server's any more.
func (w *response) FlushError() error {
	if w.cut.Load() {
		return nil
	}
	return http.NewResponseController(w.ResponseWriter).Flush()
}

func (w *response) write(p []byte) error {
	_, err := w.ResponseWriter.Write(p)
	return err
}

// Unwrap lets http.ResponseController find the connection.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }
