package registry_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

var big = images.New(images.Layer(200_000))

// answer is what a plain client saw.
type answer struct {
	status int
	header http.Header
	body   []byte
	length int64 // Content-Length, -1 if unknown
	err    error // of the request or of reading the body
}

// ask asks for the only layer of big, a range of it when given.
func ask(t *testing.T, f *registry.Faults, ranges string) answer {
	t.Helper()
	var body bytes.Buffer
	a := askContext(t.Context(), t, f, ranges, &body)
	a.body = body.Bytes()
	return a
}

// askContext is ask with the body written to a writer.
func askContext(ctx context.Context, t *testing.T, f *registry.Faults, ranges string, body io.Writer) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, blobURL(f.URL, "a/b", big), nil)
	if err != nil {
		t.Fatal(err)
	}
	if ranges != "" {
		req.Header.Set("Range", ranges)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	_, err = io.Copy(body, io.LimitReader(resp.Body, 4<<20))
	return answer{resp.StatusCode, resp.Header, nil, resp.ContentLength, err}
}

func TestFaultsAreSeenByAClient(t *testing.T) {
	reg := registry.Start(t)
	big.Push(t, reg.URL, "a/b")
	blob := big.Layers[0].Blob
	size := int64(len(blob))
	flipped := bytes.Clone(blob)
	flipped[150_000] ^= 0xff
	catcher := registry.NewCatcher(t)
	catcher.Serve(big.Layers[0].Digest.String(), []byte("caught"))

	is := func(status int, body []byte) func(answer) bool {
		return func(a answer) bool {
			return a.err == nil && a.status == status && bytes.Equal(a.body, body)
		}
	}
	breaks := func(n int, cause error) func(answer) bool {
		return func(a answer) bool {
			return errors.Is(a.err, cause) && bytes.Equal(a.body, blob[:n])
		}
	}
	tests := []struct {
		name   string
		fault  registry.Fault
		ranges string
		seen   func(answer) bool
	}{
		{"none", nil, "", is(200, blob)},
		{"none, a range", nil, "bytes=100-", is(206, blob[100:])},
		{"status", registry.Status(429, "", "Retry-After", "7"), "", func(a answer) bool {
			return a.status == 429 && a.header.Get("Retry-After") == "7"
		}},
		{"html", registry.Status(503, "<html>"), "", func(a answer) bool {
			return a.status == 503 && a.header.Get("Content-Type") == "text/html" && string(a.body) == "<html>"
		}},
		{"json error", registry.Error(404, "BLOB_UNKNOWN", "who?"), "", func(a answer) bool {
			return a.status == 404 && string(a.body) == `{"errors":[{"code":"BLOB_UNKNOWN","message":"who?"}]}`
		}},
		{"body", registry.Body("text/plain", []byte("0123456789")), "bytes=5-", is(206, []byte("56789"))},
		{"handler", registry.Handle(http.NotFoundHandler()), "", is(404, []byte("404 page not found\n"))},
		{"redirect", registry.Redirect(catcher.LocalhostURL()), "", is(200, []byte("caught"))},
		{"redirect loop", registry.RedirectLoop(), "", func(a answer) bool {
			return a.err != nil && strings.Contains(a.err.Error(), "stopped after 10 redirects")
		}},
		{"reset", registry.Reset(), "", func(a answer) bool { return errors.Is(a.err, syscall.ECONNRESET) }},
		{"reset after", registry.ResetAfter(100_000), "", func(a answer) bool {
			return errors.Is(a.err, syscall.ECONNRESET)
		}},
		{"truncate", registry.Truncate(100_000), "", breaks(100_000, io.ErrUnexpectedEOF)},
		{"truncate at once", registry.Truncate(0), "", breaks(0, io.ErrUnexpectedEOF)},
		{"flip", registry.Flip(150_000), "", is(200, flipped)},
		{"flip in a range", registry.Flip(150_000), "bytes=140000-", is(206, flipped[140_000:])},
		{"flip before the range", registry.Flip(150_000), "bytes=150001-", is(206, blob[150_001:])},
		{"too short", registry.TooShort(10), "", is(200, blob[:10])},
		{"too long", registry.TooLong(3), "", is(200, append(bytes.Clone(blob), 0, 0, 0))},
		{"endless", registry.Endless(), "", func(a answer) bool {
			return len(a.body) == 4<<20 && bytes.HasPrefix(a.body, blob)
		}},
		{"ignore range", registry.IgnoreRange(), "bytes=100-", is(200, blob)},
		{"range refused", registry.RangeNotSatisfiable(), "bytes=100-", is(416, []byte{})},
		{"wrong range", registry.WrongContentRange(7), "bytes=100-", func(a answer) bool {
			return a.status == 206 && strings.HasPrefix(a.header.Get("Content-Range"), "bytes 107-") && bytes.Equal(a.body, blob[100:])
		}},
		{"lying digest", registry.Header("Docker-Content-Digest", "sha256:00"), "", func(a answer) bool {
			return a.header.Get("Docker-Content-Digest") == "sha256:00" && bytes.Equal(a.body, blob)
		}},
		{"header removed", registry.Header("Docker-Content-Digest", ""), "", func(a answer) bool {
			return a.header.Get("Docker-Content-Digest") == "" && bytes.Equal(a.body, blob)
		}},
		{"lying length", registry.Header("Content-Length", "999999"), "", func(a answer) bool {
			return a.length == 999_999 && errors.Is(a.err, io.ErrUnexpectedEOF) && int64(len(a.body)) == size
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := reg.Faults(t)
			if tt.fault != nil {
				f.On(registry.Blob(big.Layers[0].Digest.String()), tt.fault)
			}
			if a := ask(t, f, tt.ranges); !tt.seen(a) {
				t.Errorf("status %d, %d bytes of %d, header %v, error %v", a.status, len(a.body), a.length, a.header, a.err)
			}
		})
	}
}

func TestStallHoldsTheConnection(t *testing.T) {
	reg := registry.Start(t)
	big.Push(t, reg.URL, "a/b")
	release := make(chan struct{})
	for name, c := range map[string]struct {
		fault registry.Fault
		comes int // bytes
	}{
		"stall": {registry.Stall(1000), 1000}, "hold": {registry.Hold(1000, release), 1000},
		"silence": {registry.Silence(), 0}, "delay": {registry.Delay(time.Hour), 0},
	} {
		t.Run(name, func(t *testing.T) {
			f := reg.Faults(t)
			f.On(registry.Get("/blobs/"), c.fault)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			body, answered := io.Pipe()
			go func() {
				a := askContext(ctx, t, f, "", answered)
				answered.CloseWithError(a.err)
			}()
			if _, err := io.ReadFull(body, make([]byte, c.comes)); err != nil {
				t.Fatal(err)
			}
			time.AfterFunc(100*time.Millisecond, cancel) // time for more
			if more, err := io.ReadAll(body); len(more) > 0 || !errors.Is(err, context.Canceled) {
				t.Errorf("%d more bytes came, error %v", len(more), err)
			}
		})
	}
	f := reg.Faults(t)
	f.On(registry.Get("/blobs/"), registry.Hold(1000, release))
	close(release)
	if a := ask(t, f, ""); a.err != nil || !bytes.Equal(a.body, big.Layers[0].Blob) {
		t.Errorf("after the release: %d bytes, error %v", len(a.body), a.err)
	}
}

func TestDripIsSlow(t *testing.T) {
	reg := registry.Start(t)
	big.Push(t, reg.URL, "a/b")
	f := reg.Faults(t)
	f.On(registry.Get("/blobs/"), registry.Drip(400_000))
	start := time.Now()
	a := ask(t, f, "")
	if took := time.Since(start); a.err != nil || !bytes.Equal(a.body, big.Layers[0].Blob) || took < 400*time.Millisecond {
		t.Errorf("200 kB at 400 kB/s: %v, error %v", took, a.err)
	}
}

func TestRulesCountRequests(t *testing.T) {
	f := registry.NewFaults(t, nil)
	f.On(registry.Get("^/first").First(2), registry.Status(501, ""))
	f.On(registry.Get("^/third").Nth(3), registry.Status(502, ""))
	f.On(registry.Any("^/from").From(2), registry.Status(503, ""))
	for path, want := range map[string][]int{
		"/first": {501, 501, 404}, "/third": {404, 404, 502, 404}, "/from": {404, 503, 503},
	} {
		for i, w := range want {
			if got := status(t, http.DefaultClient, f.URL+path); got != w {
				t.Errorf("%s, request %d: status %d, want %d", path, i+1, got, w)
			}
		}
	}
	if resp, err := http.Head(f.URL + "/first"); err != nil || resp.StatusCode != 404 {
		t.Errorf("Get matched a HEAD: %v", err)
	}
}

func TestRequestsAreRecorded(t *testing.T) {
	reg := registry.Start(t, registry.Basic("ann", "secret"))
	big.Push(t, reg.URL, "a/b", images.Via(reg.Client()))
	f := reg.Faults(t)
	f.URL = strings.Replace(f.URL, "://", "://ann:secret@", 1)
	f.On(registry.Get("/blobs/").Nth(2), registry.Truncate(500))
	ask(t, f, "")
	ask(t, f, "bytes=1000-")
	got := f.Matching(registry.Get("/blobs/"))
	if len(got) != 2 || len(f.Requests()) != 2 {
		t.Fatalf("%d requests recorded, want 2", len(got))
	}
	size := big.Layers[0].Size
	if r := got[0]; r.Status != 200 || r.Bytes != size || r.Range != "" || r.Authorization != "Basic YW5uOnNlY3JldA==" {
		t.Errorf("first: %+v", r)
	}
	if r := got[1]; r.Status != 206 || r.Bytes != 500 || r.Range != "bytes=1000-" {
		t.Errorf("second: %+v", r)
	}
	if sum := f.BytesSent("/blobs/"); sum != size+500 {
		t.Errorf("%d bytes sent, want %d", sum, size+500)
	}
	f.Reset()
	if n := len(f.Requests()); n != 0 {
		t.Errorf("%d requests after Reset", n)
	}
}

func TestFaultsServeTLS(t *testing.T) {
	reg := registry.Start(t, registry.TLS())
	big.Push(t, reg.URL, "a/b", images.Via(reg.Client()))
	f := reg.Faults(t)
	f.On(registry.Get("/blobs/").Nth(2), registry.Reset())
	if got := status(t, reg.Client(), blobURL(f.URL, "a/b", big)); got != 200 {
		t.Errorf("status %d", got)
	}
	_, err := reg.Client().Get(blobURL(f.URL, "a/b", big))
	var uerr *url.Error
	if !errors.As(err, &uerr) {
		t.Errorf("reset under TLS: %v", err)
	}
}

func TestPushThroughFaults(t *testing.T) {
	reg := registry.Start(t)
	f := reg.Faults(t)
	big.Push(t, f.URL, "a/b:v1")
	if got := status(t, http.DefaultClient, blobURL(reg.URL, "a/b", big)); got != 200 {
		t.Errorf("status %d", got)
	}
}

// TestFaultsStream: what upstream has sent reaches the client at once, not when a
// buffer is full.
func TestFaultsStream(t *testing.T) {
	endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000000")
		_, _ = io.WriteString(w, "first")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	t.Cleanup(endless.Close)
	f := registry.Proxy(endless.URL)
	t.Cleanup(f.Close)
	client := &http.Client{Timeout: 10 * time.Second}
	resp, err := client.Get(f.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	buf := make([]byte, 5)
	if _, err := io.ReadFull(resp.Body, buf); err != nil || string(buf) != "first" {
		t.Errorf("%q, %v", buf, err)
	}
}
