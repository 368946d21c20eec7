package module_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"osbuild-containers/internal/module"
	"osbuild-containers/internal/process"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/request"
)

// service runs Main as a service and returns osbuild's end of the connection.
func service(t *testing.T, s module.Source, signals <-chan os.Signal) (fd int, done <-chan ending) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan ending, 1)
	go func() {
		var stdout, stderr bytes.Buffer
		args := []string{"--service-id", "source/" + name, "--service-fd", strconv.Itoa(fds[1])}
		code := s.Main(context.Background(), module.Env{Env: process.Env{Args: args, Stdout: &stdout, Stderr: &stderr, Signals: signals}})
		ended <- ending{code, stdout.String(), stderr.String()}
		_ = unix.Close(fds[1])
	}()
	return fds[0], ended
}

func call(t *testing.T, fd int, method, args string) string {
	t.Helper()
	packet := fmt.Sprintf(`{"type": "method", "data": {"name": %q, "args": %s}}`, method, args)
	if err := unix.Sendmsg(fd, []byte(packet), nil, nil, 0); err != nil {
		t.Fatal(err)
	}
	answer := make([]byte, 100_000)
	n, err := unix.Read(fd, answer)
	if err != nil {
		t.Fatal(err)
	}
	return string(answer[:n])
}

func TestService(t *testing.T) {
	t.Setenv("PYTHONPATH", "") // osbuild's version is unknown
	signals := make(chan os.Signal, 2)
	signals <- syscall.SIGINT
	signals <- syscall.SIGTERM
	fd, done := service(t, answers(map[string]string{idB: "no b"}), signals)
	good := `{"type":"reply","data":{"reply":{"name":"source N","source_type":"N","success":true,"output":"source N finished successfully","results":[{"success":true,"metadata":{"checksum":"` + idA + `","cached":%v},"error":""}]}}}`
	failed := `{"type":"reply","data":{"reply":{"name":"source N","source_type":"N","success":false,"output":"source N finished unsuccessfully: no b","results":[{"success":false,"metadata":{"checksum":"` + idB + `","cached":false},"error":"no b"}]}}}`
	for _, c := range []struct {
		method, args string
		want         string
	}{
		{"download", `{"items": {"` + idA + `": {}}, "options": {}, "cache": "/c", "output": null, "checksums": []}`, fmt.Sprintf(good, false)},
		{"download", `{"items": {"` + idB + `": {}}, "options": null, "cache": "/c"}`, failed},
		{"copy", `{"items": {"` + idA + `": {}}, "options": {}, "cache": "/c", "dst_cache": "/d"}`, fmt.Sprintf(good, true)},
		{"upload", `{}`, `{"type":"exception","data":{"name":"ProtocolError","value":"unknown method \"upload\"","backtrace":""}}`},
		{"download", `{"items": {}, "cache": "c"}`, `{"type":"exception","data":{"name":"RequestError","value":"cache: must be an absolute path, got \"c\"","backtrace":""}}`},
		{"copy", `{"items": {}, "cache": "/c"}`, `{"type":"exception","data":{"name":"RequestError","value":"field \"dst_cache\" is missing: copy needs it","backtrace":""}}`},
	} {
		if got, want := call(t, fd, c.method, c.args), strings.NewReplacer("N\"", name+"\"", "N f", name+" f").Replace(c.want); got != want {
			t.Errorf("%s %s\ngot  %s\nwant %s", c.method, c.args, got, want)
		}
	}
	_ = unix.Close(fd)
	if p := <-done; p != (ending{}) {
		t.Errorf("got %+v", p)
	}
	if len(signals) != 2 {
		t.Errorf("a signal was read")
	}
}

// TestOldOsbuildIsRefused checks the exception for an osbuild that passes items in an unsupported form.
func TestOldOsbuildIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(dir+"/osbuild", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/osbuild/__init__.py", []byte(`__version__ = "128"`), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PYTHONPATH", dir)
	fd, done := service(t, answers(nil), nil)
	want := `{"type":"exception","data":{"name":"RequestError","value":"osbuild v128 is too old for this source: use v129 or later, or osbuild's own modules","backtrace":""}}`
	if got := call(t, fd, "download", `{"options": {}, "cache": "/c"}`); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	_ = unix.Close(fd)
	<-done
}

func TestServiceEndsWithItsConnection(t *testing.T) {
	for title, c := range map[string]struct {
		source module.Source
		want   ending
	}{
		"at once":          {interruptible(true), ending{}},
		"when it is stuck": {interruptible(false), ending{1, "", name + ": the connection was closed, and the work did not end within 10s\n"}},
	} {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			began := make(chan struct{})
			download := c.source.Download
			c.source.Download = func(ctx context.Context, r *request.Request, log *progress.Reporter) []request.Result {
				close(began)
				return download(ctx, r, log)
			}
			fd, done := service(t, c.source, nil)
			packet := `{"type": "method", "data": {"name": "download", "args": {"items": {}, "cache": "/c"}}}`
			if err := unix.Sendmsg(fd, []byte(packet), nil, nil, 0); err != nil {
				t.Fatal(err)
			}
			<-began
			_ = unix.Close(fd)
			select {
			case p := <-done:
				if p != c.want {
					t.Errorf("got %+v, want %+v", p, c.want)
				}
			case <-time.After(time.Minute):
				t.Error("the service has not ended")
			}
		})
	}
}
