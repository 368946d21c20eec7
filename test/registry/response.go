package registry

import "net/http"

// response is a ResponseWriter whose header and body pass through hooks.
type response struct {
	http.ResponseWriter
	onHeader func(status int, h http.Header) int
	onWrite  func(p []byte, write func([]byte) error) error
	wrote    bool
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
	if err := w.onWrite(p, w.write); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (w *response) write(p []byte) error {
	_, err := w.ResponseWriter.Write(p)
	return err
}

// Unwrap lets http.ResponseController find the connection.
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }
