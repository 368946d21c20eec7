package hostsvc

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const wmemMax = "/proc/sys/net/core/wmem_max"

// peer is osbuild's end of a connection to a service. It uses system calls directly, not the code under test.
type peer struct {
	t    *testing.T
	fd   int
	buf  []byte
	done chan error // what Serve returned
}

// connect serves handle until the test ends.
func connect(ctx context.Context, t *testing.T, handle Handler) *peer {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{t: t, fd: fds[0], buf: make([]byte, 16<<20), done: make(chan error, 1)}
	go func() {
		p.done <- Serve(ctx, fds[1], handle)
		_ = unix.Close(fds[1])
	}()
	t.Cleanup(func() { p.close() })
	return p
}

func (p *peer) close() {
	if p.fd >= 0 {
		_ = unix.Close(p.fd)
		p.fd = -1
	}
}

// returned returns the result of Serve, waiting up to a minute.
func (p *peer) returned() error {
	p.t.Helper()
	select {
	case err := <-p.done:
		return err
	case <-time.After(time.Minute):
		p.t.Fatal("Serve has not returned")
		return nil
	}
}

func (p *peer) send(packet string, fds ...int) {
	p.t.Helper()
	if err := unix.SetsockoptInt(p.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, len(packet)); err != nil {
		p.t.Fatal(err)
	}
	var control []byte
	if len(fds) > 0 {
		control = unix.UnixRights(fds...)
	}
	if err := unix.Sendmsg(p.fd, []byte(packet), control, nil, 0); err != nil {
		p.t.Fatal(err)
	}
}

// recv returns the answer and the size of its packet in bytes.
func (p *peer) recv() (answer string, packet int) {
	p.t.Helper()
	raw, control := p.buf, make([]byte, 1024)
	n, controlLen, _, _, err := unix.Recvmsg(p.fd, raw, control, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		p.t.Fatal(err)
	}
	if string(raw[:n]) != "<args-via-fd>" {
		if controlLen > 0 {
			p.t.Errorf("answer came with descriptors")
		}
		return string(raw[:n]), n
	}
	messages, err := unix.ParseSocketControlMessage(control[:controlLen])
	if err != nil || len(messages) != 1 {
		p.t.Fatalf("%d control messages, %v", len(messages), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		p.t.Fatalf("descriptors %v, %v", fds, err)
	}
	f := os.NewFile(uintptr(fds[0]), "answer")
	defer f.Close()
	content, err := io.ReadAll(f) // from its current offset
	if err != nil {
		p.t.Fatal(err)
	}
	return string(content), n
}

// call sends a method and returns the answer.
func (p *peer) call(name, args string) string {
	p.t.Helper()
	p.send(method(name, args))
	answer, _ := p.recv()
	return answer
}

func method(name, args string) string {
	return fmt.Sprintf(`{"type": "method", "data": {"name": %q, "args": %s}}`, name, args)
}

// memfile returns a memory file with its offset at the end.
func memfile(t *testing.T, content string) *os.File {
	t.Helper()
	fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "test")
	t.Cleanup(func() { _ = f.Close() })
	if _, err := io.Copy(f, strings.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	return f
}

// echo replies with its arguments.
func echo(_ context.Context, method string, args json.RawMessage) (any, error) {
	return map[string]any{"method": method, "args": args}, nil
}

// openFiles counts this process's open memory files and pipes. Garbage collection is off until the test ends, so leaked files
// stay open.
func openFiles(t *testing.T) (n int) {
	t.Helper()
	percent := debug.SetGCPercent(-1)
	t.Cleanup(func() { debug.SetGCPercent(percent) })
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range list {
		target, _ := os.Readlink("/proc/self/fd/" + fd.Name())
		if strings.HasPrefix(target, "/memfd:") || strings.HasPrefix(target, "pipe:") {
			n++
		}
	}
	return n
}

// settles waits until as many files are open as before: the service closes its own after it has sent the answer.
func settles(t *testing.T, before int) {
	t.Helper()
	got := openFiles(t)
	for deadline := time.Now().Add(time.Minute); got != before; got = openFiles(t) {
		if time.Now().After(deadline) {
			t.Errorf("%d files are open, %d before", got, before)
			return
		}
		time.Sleep(time.Millisecond)
	}
}
