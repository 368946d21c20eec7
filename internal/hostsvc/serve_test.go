package hostsvc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"osbuild-containers/internal/panics"
)

func TestSeveralCallsOnOneConnection(t *testing.T) {
	p := connect(t.Context(), t, echo)
	for i := range 3 {
		args := fmt.Sprintf(`{"n":%d}`, i)
		want := fmt.Sprintf(`{"type":"reply","data":{"reply":{"args":%s,"method":"download"}}}`, args)
		if got := p.call("download", args); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	p.close()
	if err := p.returned(); err != nil {
		t.Errorf("Serve: %v", err)
	}
}

// TestAnswersToBadMessages also checks that the connection survives each of them.
func TestAnswersToBadMessages(t *testing.T) {
	pipe, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	defer w.Close()
	huge := memfile(t, "{}")
	if err := huge.Truncate(maxMessage + 1); err != nil { // a hole
		t.Fatal(err)
	}
	p := connect(t.Context(), t, echo)
	for _, c := range []struct {
		packet string
		file   *os.File
		want   string
	}{
		{"garbage", nil, "message is not JSON: invalid character 'g' looking for beginning of value"},
		{`{"type": "method"`, nil, "message is not JSON: unexpected end of JSON input"},
		{`{} {}`, nil, "message is not JSON: invalid character '{' after top-level value"},
		{`{}`, nil, "message has no type"},
		{`null`, nil, "message has no type"},
		{`[]`, nil, "message has no type"},
		{`{"type": 1, "data": {}}`, nil, "type of message is not a string"},
		{`{"type": "reply", "data": {"reply": 1}}`, nil, `unknown message type "reply"`},
		{`{"type": "method"}`, nil, "method has no name"},
		{`{"type": "method", "data": "download"}`, nil, "message has no data that is an object"},
		{`{"type": "method", "data": {"args": {}}}`, nil, "method has no name"},
		{`{"type": "method", "data": {"name": ["download"]}}`, nil, "name of method is not a string of at least one character"},
		{`{"type": "method", "data": {"name": ""}}`, nil, "name of method is not a string of at least one character"},
		{`<args-via-fd>`, nil, "message has no file descriptor, want one with the message"},
		{`<args-via-fd>`, pipe, "message in a file: not a regular file"},
		{`<args-via-fd>`, huge, fmt.Sprintf("message in a file: has %d bytes, more than %d", maxMessage+1, maxMessage)},
		{`<args-via-fd>`, memfile(t, "garbage"), "message is not JSON: invalid character 'g' looking for beginning of value"},
		{`<args-via-fd>`, memfile(t, ""), "message is not JSON: unexpected end of JSON input"},
	} {
		before := openFiles(t)
		if c.file != nil {
			p.send(c.packet, int(c.file.Fd()), int(c.file.Fd()))
		} else {
			p.send(c.packet)
		}
		answer, _ := p.recv()
		var got struct {
			Type string
			Data Exception
		}
		if err := json.Unmarshal([]byte(answer), &got); err != nil {
			t.Fatal(err)
		}
		if want := (Exception{"ProtocolError", c.want, ""}); got.Type != "exception" || got.Data != want {
			t.Errorf("%s\ngot  %s\nwant %v", c.packet, answer, want)
		}
		settles(t, before)
	}
	if got := p.call("still", "[]"); !strings.Contains(got, `"method":"still"`) {
		t.Errorf("after all that: %s", got)
	}
}

func TestUnknownFieldsAreIgnored(t *testing.T) {
	p := connect(t.Context(), t, echo)
	p.send(`{"type": "method", "serial": 7, "data": {"name": "x", "flags": []}}`)
	got, _ := p.recv()
	if want := `{"type":"reply","data":{"reply":{"args":[],"method":"x"}}}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestMessageInAFile(t *testing.T) {
	p := connect(t.Context(), t, echo)
	args := `"` + strings.Repeat("x", 5<<20) + `"`
	p.send("<args-via-fd>", int(memfile(t, method("download", args)).Fd()), int(memfile(t, "items").Fd()))
	got, _ := p.recv()
	if want := `{"type":"reply","data":{"reply":{"args":` + args + `,"method":"download"}}}`; got != want {
		t.Errorf("got %d bytes that begin with %.80s", len(got), got)
	}
}

// TestLargeReplies checks up to which size a reply is sent in a packet.
func TestLargeReplies(t *testing.T) {
	p := connect(t.Context(), t, func(_ context.Context, _ string, args json.RawMessage) (any, error) {
		size, err := strconv.Atoi(string(args))
		if err != nil {
			return nil, err
		}
		return strings.Repeat("x", size-len(`{"type":"reply","data":{"reply":""}}`)), nil
	})
	limit := maxPacket(wmemMax)
	for _, c := range []struct {
		size int
		file bool
	}{{1000, false}, {limit, false}, {limit + 1, true}, {limit + 5<<20, true}, {1000, false}} {
		before := openFiles(t)
		p.send(method("x", strconv.Itoa(c.size)))
		got, packet := p.recv()
		if len(got) != c.size || (packet != c.size) != c.file {
			t.Errorf("reply of %d bytes came as %d bytes, in a packet of %d", c.size, len(got), packet)
		}
		settles(t, before)
	}
}

func TestPacketSizeWithoutProc(t *testing.T) {
	dir := t.TempDir()
	if got := maxPacket(dir + "/nothing"); got != 64000 {
		t.Errorf("without the file: %d, want 64000", got)
	}
	for content, want := range map[string]int{"212992\n": 212992, "much\n": 64000} {
		if err := os.WriteFile(dir+"/wmem_max", []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := maxPacket(dir + "/wmem_max"); got != want {
			t.Errorf("%q: %d, want %d", content, got, want)
		}
	}
}

// TestFilesOfACallAreClosed checks that unused descriptors are closed at the end of the call.
func TestFilesOfACallAreClosed(t *testing.T) {
	p := connect(t.Context(), t, echo)
	one, two := memfile(t, "one"), memfile(t, "two")
	before := openFiles(t)
	p.send(method("x", "[]"), int(one.Fd()), int(two.Fd()))
	if got, _ := p.recv(); got != `{"type":"reply","data":{"reply":{"args":[],"method":"x"}}}` {
		t.Error(got)
	}
	settles(t, before)
}

func TestErrorsOfTheHandler(t *testing.T) {
	cases := map[string]struct {
		handle func() (any, error)
		want   string
	}{
		"any":       {func() (any, error) { return nil, errors.New("no space") }, `{"name":"Error","value":"no space","backtrace":""}`},
		"exception": {func() (any, error) { return nil, fmt.Errorf("so: %w", &Exception{Name: "KeyError", Value: "'x'"}) }, `{"name":"KeyError","value":"'x'","backtrace":""}`},
		"no JSON":   {func() (any, error) { return make(chan int), nil }, `{"name":"TypeError","value":"encode reply: json: unsupported type: chan int","backtrace":""}`},
		"panic":     {func() (any, error) { panic(errors.New("it broke")) }, `{"name":"Panic","value":"internal error: it broke; please report it","backtrace":""}`},
	}
	p := connect(t.Context(), t, func(_ context.Context, method string, _ json.RawMessage) (any, error) {
		return cases[method].handle()
	})
	for name, c := range cases {
		if got, want := p.call(name, "{}"), `{"type":"exception","data":`+c.want+`}`; got != want {
			t.Errorf("%s\ngot  %s\nwant %s", name, got, want)
		}
	}
}

func TestPanicShowsItsStackForDebugging(t *testing.T) {
	t.Setenv(panics.Debug, "1")
	p := connect(t.Context(), t, func(context.Context, string, json.RawMessage) (any, error) { panic("it broke") })
	if got := p.call("x", "{}"); !strings.Contains(got, "TestPanicShowsItsStackForDebugging") {
		t.Errorf("no stack in %s", got)
	}
}

func TestClosingEndsACall(t *testing.T) {
	began, ended := make(chan struct{}), make(chan error, 1)
	p := connect(t.Context(), t, func(ctx context.Context, _ string, _ json.RawMessage) (any, error) {
		close(began)
		<-ctx.Done()
		ended <- context.Cause(ctx)
		return "too late", nil
	})
	p.send(method("download", "{}"))
	p.send(method("never answered", "{}")) // unread messages do not hide that the peer has closed
	<-began
	p.close()
	if err := p.returned(); err != nil {
		t.Errorf("Serve: %v", err)
	}
	if err := <-ended; !errors.Is(err, errPeerClosed) {
		t.Errorf("the call ended with %v", err)
	}
}

func TestCancellingEndsServe(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	p := connect(ctx, t, echo)
	p.call("x", "{}")
	cancel()
	if err := p.returned(); err != nil {
		t.Errorf("Serve: %v", err)
	}
}

func TestCallEndsBeforeServeReturns(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cleaned := false
	p := connect(ctx, t, func(ctx context.Context, _ string, _ json.RawMessage) (any, error) {
		cancel()
		<-ctx.Done()
		cleaned = true
		return nil, nil
	})
	p.send(method("x", "{}"))
	if err := p.returned(); err != nil || !cleaned {
		t.Errorf("Serve: %v, cleaned up: %v", err, cleaned)
	}
}

func TestDescriptorMustBeASocket(t *testing.T) {
	f := memfile(t, "")
	stream, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(stream[0])
	defer unix.Close(stream[1])
	for fd, want := range map[int]string{
		99_999:      "descriptor 99999 of the service: bad file descriptor",
		int(f.Fd()): fmt.Sprintf("descriptor %d of the service: socket operation on non-socket", f.Fd()),
		stream[0]:   fmt.Sprintf("descriptor %d of the service is not a SOCK_SEQPACKET socket", stream[0]),
	} {
		if err := Serve(t.Context(), fd, echo); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
