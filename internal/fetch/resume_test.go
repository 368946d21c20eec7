package fetch

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/panics"
	"osbuild-containers/internal/request"
	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

// TestResume checks the requests for a layer of which an earlier process left a part, correct or not, with servers that support
// ranges or not.
func TestResume(t *testing.T) {
	t.Parallel()
	layer := layered.Layers[0]
	half := layer.Blob[:50_000]
	zeroes := make([]byte, len(half))
	const rest = "bytes=50000-"
	for name, c := range map[string]struct {
		left  []byte
		fault registry.Fault
		asked []string
		bytes int64 // to download
	}{
		"half of it":             {half, nil, []string{rest}, layer.Size - 50_000},
		"one byte missing":       {layer.Blob[:layer.Size-1], nil, []string{fmt.Sprintf("bytes=%d-", layer.Size-1)}, 1},
		"all of it":              {layer.Blob, nil, nil, 0},
		"nothing of it":          {nil, nil, []string{"-"}, layer.Size},
		"damaged":                {zeroes, nil, []string{rest, "-"}, layer.Size + layer.Size - 50_000},
		"all of it, damaged":     {make([]byte, layer.Size), nil, []string{"-"}, layer.Size},
		"more than it":           {append(layer.Blob[:layer.Size:layer.Size], 'x'), nil, []string{"-"}, layer.Size},
		"server ignores ranges":  {half, registry.IgnoreRange(), []string{rest}, layer.Size},
		"server refuses ranges":  {half, registry.RangeNotSatisfiable(), []string{rest, "-"}, layer.Size},
		"server sends another":   {half, registry.WrongContentRange(1), []string{rest, "-"}, -1},
		"server names no range":  {half, registry.Header("Content-Range", ""), []string{rest, "-"}, -1},
		"server names rubbish":   {half, registry.Header("Content-Range", "bytes x-y/z"), []string{rest, "-"}, -1},
		"damaged, and no ranges": {zeroes, registry.IgnoreRange(), []string{rest}, layer.Size},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, name := serve(t, layered)
			if c.fault != nil {
				f.On(registry.Blob(string(layer.Digest)), c.fault)
			}
			w := newWorld(t)
			w.setPartial(layer.Digest, c.left)
			out := w.images(itemOf(layered, name)).ok()
			w.has(layered)
			ranges(t, asked(f, layer.Digest), c.asked...)
			m := out.Results[0].Metadata
			if c.fault != nil && m.Attempts != len(c.asked) {
				t.Errorf("%d attempts are reported, want %d", m.Attempts, len(c.asked))
			}
			if c.bytes >= 0 && m.Bytes != c.bytes+int64(len(layered.Config)) {
				t.Errorf("%d bytes are reported as downloaded, want %d", m.Bytes, c.bytes+int64(len(layered.Config)))
			}
			if c.bytes >= 0 && c.bytes < layer.Size && m.Bytes+m.Reused != layered.Size() {
				t.Errorf("%d bytes downloaded and %d reused are not %d", m.Bytes, m.Reused, layered.Size())
			}
		})
	}
}

// TestFailureKeepsPartialBlob checks that the next job resumes where a failed one stopped.
func TestFailureKeepsPartialBlob(t *testing.T) {
	t.Parallel()
	layer := layered.Layers[0]
	f, name := serve(t, layered)
	f.On(registry.Blob(string(layer.Digest)).First(1), registry.Truncate(60_000))
	w := newWorld(t)
	w.options.Retries = 0
	w.images(itemOf(layered, name)).failed("<name>: blob <layer>: connection broke: unexpected EOF\n"+
		"the registry or the network is in trouble: try again later, or raise retries and timeout; what was downloaded is kept and used next time",
		"<name>", name+"@"+string(layered.Digest), "<layer>", string(layer.Digest))
	w.nothing()
	if got := w.partial(layer.Digest); got != 60_000 {
		t.Fatalf("%d bytes are kept, want 60000", got)
	}
	w.images(itemOf(layered, name)).ok().says("resuming at 60.0 kB")
	w.has(layered)
	ranges(t, asked(f, layer.Digest), "-", "bytes=60000-")
}

// TestKilledAndRunAgain kills a process during a download: the next one resumes.
func TestKilledAndRunAgain(t *testing.T) {
	t.Parallel()
	layer := layered.Layers[0]
	f, name := serve(t, layered)
	f.On(registry.Blob(string(layer.Digest)).First(1), registry.Stall(60_000))
	w := newWorld(t).alone()
	o := childRequest{What: "images", Wait: w.wait, Request: request.Request{
		Items: []request.Item{itemOf(layered, name)}, Options: w.options, Cache: w.cache,
	}}
	cmd := w.command(o)
	must(cmd.Start())
	eventually(t, "the download", func() bool { return w.partial(layer.Digest) >= 60_000 })
	must(cmd.Process.Kill())
	if _, killed := errors.AsType[*exec.ExitError](cmd.Wait()); !killed {
		t.Fatal("the process was not killed")
	}
	w.nothing()
	w.images(itemOf(layered, name)).ok()
	w.has(layered)
	ranges(t, asked(f, layer.Digest), "-", "bytes=60000-")
	if left, _ := filepath.Glob(filepath.Join(w.cache, "org.osbuild.containers/.pool/staging/*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestDropsEveryConnection checks that a server that drops every connection after 1.5 MiB counts as slow, not broken: it needs no
// retries, however large the layer.
func TestDropsEveryConnection(t *testing.T) {
	t.Parallel()
	const portion = 3 << 19
	img := images.New(images.Layer(6 << 20))
	layer := img.Layers[0]
	f, name := serve(t, img)
	f.On(registry.Blob(string(layer.Digest)), registry.Truncate(portion))
	w := newWorld(t)
	w.options.Retries = 1
	w.images(itemOf(img, name)).ok()
	w.has(img)
	want := []string{"-"}
	for at := portion; at < int(layer.Size); at += portion {
		want = append(want, fmt.Sprintf("bytes=%d-", at))
	}
	ranges(t, asked(f, layer.Digest), want...)
}

// TestDropsAfterDamage is the same for a layer that is read again because it was damaged.
func TestDropsAfterDamage(t *testing.T) {
	t.Parallel()
	img := images.New(images.Layer(6 << 20))
	blob := registry.Blob(string(img.Layers[0].Digest))
	f, name := serve(t, img)
	f.On(blob.First(1), registry.Flip(100))
	f.On(blob.From(2), registry.Truncate(3<<19))
	w := newWorld(t)
	w.options.Retries = 1
	w.images(itemOf(img, name)).ok().says("starting again from the beginning")
	w.has(img)
}

// TestPanicReleasesTheSlot checks that a panic while opening a connection releases its slot.
func TestPanicReleasesTheSlot(t *testing.T) {
	t.Parallel()
	it := newJob(&request.Request{}, nil).newItem(itemOf(layered, "registry.example/a/b"))
	held := 0
	err := panics.Catch(func() error {
		r := (&session{it: it}).newReader(t.Context(), manifest.Descriptor{Size: 1}, 0, nil) // without an open source
		defer r.Close()
		r.slot = func(context.Context) (func(), error) {
			held++
			return func() { held-- }, nil
		}
		_, err := r.Read(make([]byte, 1))
		return err
	})
	if err == nil || held != 0 {
		t.Errorf("got error %v and %d slots that are held, want an error and none", err, held)
	}
}

// TestDropsWithLittleProgress checks that a server that drops connections after 100 kB is given up within the retries.
func TestDropsWithLittleProgress(t *testing.T) {
	t.Parallel()
	img := images.New(images.Layer(2 << 20))
	layer := img.Layers[0]
	f, name := serve(t, img)
	f.On(registry.Blob(string(layer.Digest)), registry.Truncate(100_000))
	w := newWorld(t)
	if out := w.images(itemOf(img, name)); out.Results[0].Success {
		t.Error("succeeded")
	}
	ranges(t, asked(f, layer.Digest), "-", "bytes=100000-", "bytes=200000-", "bytes=300000-")
}

// TestTimeoutBounds checks that no retry starts that cannot end in time, and the error.
func TestTimeoutBounds(t *testing.T) {
	t.Parallel()
	layer := layered.Layers[0]
	f, name := serve(t, layered)
	f.On(registry.Blob(string(layer.Digest)), registry.Status(503, "", "Retry-After", "3600"))
	w := newWorld(t)
	began := time.Now()
	w.images(itemOf(layered, name)).failed("<name>: blob <layer>: 503 Service Unavailable (gave up: no progress for 0s, and the next try would be in 1h0m0s; the timeout is 1m0s)\n"+
		"the registry or the network is in trouble: try again later, or raise retries and timeout; what was downloaded is kept and used next time",
		"<name>", name+"@"+string(layered.Digest), "<layer>", string(layer.Digest))
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("took %s", took)
	}
	ranges(t, asked(f, layer.Digest), "-")
}

// TestRetryAfter checks that Retry-After is respected.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	for _, code := range []int{429, 503} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			t.Parallel()
			layer := layered.Layers[0]
			f, name := serve(t, layered)
			blob := registry.Blob(string(layer.Digest))
			f.On(blob.First(1), registry.Status(code, "", "Retry-After", "1"))
			w := newWorld(t)
			w.images(itemOf(layered, name)).ok().says("next in 1.0 s")
			got := f.Matching(blob)
			if len(got) != 2 || got[1].Time.Sub(got[0].Time) < 900*time.Millisecond {
				t.Errorf("asked at %v, want again after a second", got)
			}
		})
	}
}

// TestThrottledAtOpen checks that a 429 is waited for, and logged with the image's name, for every kind of request.
func TestThrottledAtOpen(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]registry.Match{
		"first contact": registry.Get("^/v2/$"), "manifest": registry.Get("/manifests/"), "blob": registry.Blob(string(layered.Layers[0].Digest)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, name := serve(t, layered)
			f.On(at.First(1), registry.Error(429, "TOOMANYREQUESTS", "the pull rate limit is reached", "Retry-After", "3"))
			w := newWorld(t)
			w.options.StallTimeout = stall
			w.images(itemOf(layered, name)).ok().says(name+"@", "attempt 1 of ", " failed, next in 3", "429 Too Many Requests: the pull rate limit is reached", "2 attempts")
			if n := len(f.Matching(at)); n != 2 {
				t.Errorf("asked %d times, want 2", n)
			}
		})
	}
}

// TestThrottledForTooLong checks that a wait beyond the timeout fails at once, with the registry's message.
func TestThrottledForTooLong(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]registry.Match{
		"first contact": registry.Get("^/v2/$"), "manifest": registry.Get("/manifests/"), "blob": registry.Blob(string(layered.Layers[0].Digest)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, name := serve(t, layered)
			f.On(at, registry.Error(429, "TOOMANYREQUESTS", "the pull rate limit is reached", "Retry-After", "21600"))
			out := newWorld(t).images(itemOf(layered, name))
			if got := out.Results[0].Error; !strings.Contains(got, "429 Too Many Requests: the pull rate limit is reached (gave up:") || !strings.Contains(got, "6h0m0s") {
				t.Errorf("error is %s", got)
			}
			if n := len(f.Matching(at)); n != 1 {
				t.Errorf("asked %d times, want once", n)
			}
		})
	}
}

// closedPort returns an address without a listener, which no other process can take before the test ends, and a function that
// listens there.
func closedPort(t testing.TB) (addr string, listen func() net.Listener) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(err)
	f := os.NewFile(uintptr(fd), "socket")
	t.Cleanup(func() { f.Close() })
	must(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	at, err := unix.Getsockname(fd)
	must(err)
	return fmt.Sprintf("127.0.0.1:%d", at.(*unix.SockaddrInet4).Port), func() net.Listener {
		must(unix.Listen(fd, unix.SOMAXCONN))
		l, err := net.FileListener(f)
		must(err)
		return l
	}
}

// TestConnectionRefusedThenUp checks that a registry that is restarting is retried.
func TestConnectionRefusedThenUp(t *testing.T) {
	t.Parallel()
	addr, listen := closedPort(t)
	w := newWorld(t)
	w.options.Retries = 10
	r := childRequest{
		What: "images", Wait: 100 * time.Millisecond, Log: filepath.Join(t.TempDir(), "log"),
		Request: request.Request{Items: []request.Item{itemOf(layered, addr+"/a/b")}, Options: w.options, Cache: w.cache},
	}
	done := make(chan outcome)
	go func() { done <- r.run(t.Context()) }()
	eventually(t, "the first try", func() bool { return logSays(r.Log, "connection refused") })
	up := &http.Server{Handler: layered.Handler()}
	go up.Serve(listen())
	defer up.Close()
	out := <-done
	out.t = t
	out.ok()
	w.has(layered)
}

// TestConnectionRefused checks the error for an address without a listener.
func TestConnectionRefused(t *testing.T) {
	t.Parallel()
	addr, _ := closedPort(t)
	it := itemOf(layered, addr+"/a/b")
	it.Image.TLSVerify = true
	w := newWorld(t)
	w.options.Retries = 2
	w.images(it).failed(`<name>: Get "https://<addr>/v2/": dial tcp <addr>: connect: connection refused (gave up after 3 tries)`+
		"\ncheck that the registry runs and that this machine can reach it", "<name>", it.Image.Name+"@"+string(layered.Digest), "<addr>", addr)
}
