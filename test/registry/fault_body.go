package registry

import (
	"net/http"
	"strconv"
	"time"
)

// body is what a fault does to one answer: hooks for its header and its writes.
type body struct {
	header func(status int, h http.Header) int
	write  func(p []byte, write func([]byte) error) error
	end    func() // after a complete answer
}

// bodyFault leaves answers without a 2xx status alone.
func bodyFault(start func(w http.ResponseWriter, r *http.Request) body) Fault {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b := start(w, r)
			good := false
			next.ServeHTTP(&response{
				ResponseWriter: w,
				onHeader: func(status int, h http.Header) int {
					good = status/100 == 2
					if good && b.header != nil {
						return b.header(status, h)
					}
					return status
				},
				onWrite: func(p []byte, write func([]byte) error) error {
					if !good || b.write == nil {
						return write(p)
					}
					return b.write(p, write)
				},
			}, r)
			if good && b.end != nil && r.Method != http.MethodHead {
				b.end()
			}
		})
	}
}

// after calls then once n bytes of the body were sent; it must not return.
func after(n int64, then func(w http.ResponseWriter, r *http.Request)) Fault {
	return bodyFault(func(w http.ResponseWriter, r *http.Request) body {
		left := n
		stop := func() {
			_ = http.NewResponseController(w).Flush()
			then(w, r)
			panic(http.ErrAbortHandler)
		}
		return body{write: func(p []byte, write func([]byte) error) error {
			if int64(len(p)) < left {
				left -= int64(len(p))
				return write(p)
			}
			if err := write(p[:left]); err != nil {
				return err
			}
			stop()
			return nil
		}}
	})
}

// Truncate closes the connection after n bytes of the body; the header has
// promised all of them.
func Truncate(n int64) Fault { return after(n, func(http.ResponseWriter, *http.Request) {}) }

// ResetAfter resets the connection after n bytes of the body.
func ResetAfter(n int64) Fault {
	return after(n, func(w http.ResponseWriter, _ *http.Request) { reset(w) })
}

// Stall sends n bytes of the body, then nothing for as long as the client waits.
func Stall(n int64) Fault {
	return after(n, func(_ http.ResponseWriter, r *http.Request) { waitForClose(r) })
}

// Hold sends n bytes of the body, and the rest once release is closed.
func Hold(n int64, release <-chan struct{}) Fault {
	return bodyFault(func(w http.ResponseWriter, r *http.Request) body {
		left := n
		return body{write: func(p []byte, write func([]byte) error) error {
			k := min(left, int64(len(p)))
			left -= k
			if err := write(p[:k]); err != nil || k == int64(len(p)) {
				return err
			}
			_ = http.NewResponseController(w).Flush()
			if !waitFor(r, release) {
				panic(http.ErrAbortHandler)
			}
			return write(p[k:])
		}}
	})
}

// Drip sends the body at n bytes a second, in steps of a twentieth second.
func Drip(n int64) Fault {
	const step = 50 * time.Millisecond
	return bodyFault(func(w http.ResponseWriter, r *http.Request) body {
		portion := int(max(1, n/int64(time.Second/step)))
		pause := time.Duration(portion) * time.Second / time.Duration(n)
		return body{write: func(p []byte, write func([]byte) error) error {
			for len(p) > 0 {
				k := min(portion, len(p))
				if err := write(p[:k]); err != nil {
					return err
				}
				_ = http.NewResponseController(w).Flush()
				p = p[k:]
				select {
				case <-time.After(pause):
				case <-r.Context().Done():
					panic(http.ErrAbortHandler)
				}
			}
			return nil
		}}
	})
}

// Flip changes the byte at this offset of the blob, also when the answer is a
// range of it.
func Flip(offset int64) Fault {
	return bodyFault(func(http.ResponseWriter, *http.Request) body {
		var pos int64
		return body{
			header: func(status int, h http.Header) int {
				pos, _, _, _ = contentRange(h)
				return status
			},
			write: func(p []byte, write func([]byte) error) error {
				if at := offset - pos; at >= 0 && at < int64(len(p)) {
					p = append([]byte(nil), p...)
					p[at] ^= 0xff
				}
				pos += int64(len(p))
				return write(p)
			},
		}
	})
}

// TooShort ends the body properly after n bytes: a header that fits, a clean end.
func TooShort(n int64) Fault {
	return bodyFault(func(http.ResponseWriter, *http.Request) body {
		left := n
		return body{
			header: func(status int, h http.Header) int {
				if contentLength(h) > n {
					h.Set("Content-Length", strconv.FormatInt(n, 10))
				}
				return status
			},
			write: func(p []byte, write func([]byte) error) error {
				p = p[:min(left, int64(len(p)))]
				left -= int64(len(p))
				return write(p)
			},
		}
	})
}

// TooLong adds n bytes to the body, with a header that fits.
func TooLong(n int64) Fault {
	return lengthen(n, func(h http.Header) {
		if length := contentLength(h); length >= 0 {
			h.Set("Content-Length", strconv.FormatInt(length+n, 10))
		}
	})
}

// Endless adds bytes to the body for as long as the client takes them.
func Endless() Fault {
	return lengthen(1<<62, func(h http.Header) { h.Del("Content-Length") })
}

func lengthen(n int64, header func(http.Header)) Fault {
	return bodyFault(func(w http.ResponseWriter, _ *http.Request) body {
		return body{
			header: func(status int, h http.Header) int {
				header(h)
				return status
			},
			end: func() {
				chunk := make([]byte, min(n, 32<<10))
				for left := n; left > 0; left -= int64(len(chunk)) {
					if _, err := w.Write(chunk[:min(left, int64(len(chunk)))]); err != nil {
						panic(http.ErrAbortHandler)
					}
				}
			},
		}
	})
}
