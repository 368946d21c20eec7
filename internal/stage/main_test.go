package stage_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"osbuild-containers/internal/process"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/stage"
)

const name = "org.osbuild.skopeo"

const good = `{"tree": "/t", "options": {"destination": {"type": "dir", "path": "/i"}}, "inputs": {"images": {"path": "/in", "data": {"archives": {}}}}`

type ending struct {
	code           int
	stdout, stderr string
}

// call runs a stage that does what run does.
func call(t *testing.T, stdin string, run func(context.Context, *stage.Arguments, *progress.Reporter) error, change ...func(*stage.Env)) ending {
	t.Helper()
	var stdout, stderr bytes.Buffer
	none := filepath.Join(t.TempDir(), "none")
	env := stage.Env{Env: process.Env{Stdin: strings.NewReader(stdin), Stdout: &stdout, Stderr: &stderr}, ArgumentsPath: none, APISocket: none}
	for _, c := range change {
		c(&env)
	}
	code := stage.Main(context.Background(), env, stage.Stage{Name: name, Run: run})
	return ending{code, stdout.String(), stderr.String()}
}

func fine(context.Context, *stage.Arguments, *progress.Reporter) error { return nil }

func failing(err error) func(context.Context, *stage.Arguments, *progress.Reporter) error {
	return func(context.Context, *stage.Arguments, *progress.Reporter) error { return err }
}

func TestExitStatusAndWords(t *testing.T) {
	for title, c := range map[string]struct {
		stdin string
		err   error
		want  ending
	}{
		"done":           {stdin: good + "}"},
		"failed":         {good + "}", errors.New("no space\nmake some"), ending{1, "", name + ": failed: no space\n" + name + ": make some\n"}},
		"refused by run": {good + "}", stage.Refuse("options.x", "is bad"), ending{2, "", name + ": arguments refused: options.x: is bad\n"}},
		"refused": {
			good, nil,
			ending{2, "", name + fmt.Sprintf(": arguments refused: line 1, column %d: not JSON: the text ends where a comma or } is expected\n", len(good)+1)},
		},
		"two problems": {
			`{"options": {}}`, nil,
			ending{2, "", name + ": arguments refused:\n" + name + ": field \"tree\" is missing\n" + name + ": inputs: field \"images\" is missing\n" + name + ": options: field \"destination\" is missing\n"},
		},
	} {
		got := call(t, c.stdin, failing(c.err))
		if got != c.want {
			t.Errorf("%s\ngot  %+v\nwant %+v", title, got, c.want)
		}
	}
}

func TestCommandLine(t *testing.T) {
	for args, want := range map[string]ending{
		"--frobnicate": {2, "", name + ": flag provided but not defined: -frobnicate; --help shows what there is\n"},
		"a.json":       {2, "", name + ": unexpected argument \"a.json\"; the arguments are read from standard input, see --help\n"},
	} {
		if got := call(t, "", fine, func(e *stage.Env) { e.Args = strings.Fields(args) }); got != want {
			t.Errorf("%s: got %+v", args, got)
		}
	}
	if got := call(t, "", fine, func(e *stage.Env) { e.Args = []string{"--version"} }); got.code != 0 || !strings.HasPrefix(got.stdout, name+" ") {
		t.Errorf("--version: got %+v", got)
	}
	got := call(t, "", fine, func(e *stage.Env) { e.StdinIsTerminal = true })
	if got.code != 2 || !strings.Contains(got.stderr, "standard input is a terminal") || !strings.Contains(got.stderr, "usage: ") {
		t.Errorf("terminal: got %+v", got)
	}
}

// TestUsageShowsArgumentsThatAreAccepted feeds each stage the example of its own help.
func TestUsageShowsArgumentsThatAreAccepted(t *testing.T) {
	for _, name := range []string{name, "org.osbuild.container-deploy", "org.osbuild.oci-archive"} {
		var out, log bytes.Buffer
		env := stage.Env{Env: process.Env{Args: []string{"--help"}, Stdout: &out, Stderr: &log}}
		if code := stage.Main(context.Background(), env, stage.Stage{Name: name}); code != 0 {
			t.Fatalf("%s: exit status %d", name, code)
		}
		_, rest, _ := strings.Cut(out.String(), "arguments.json:\n")
		var example json.RawMessage
		if err := json.NewDecoder(strings.NewReader(rest)).Decode(&example); err != nil {
			t.Fatal(err)
		}
		ran := false
		code := stage.Main(context.Background(), stage.Env{Env: process.Env{Stdin: bytes.NewReader(example), Stderr: &log}, ArgumentsPath: "/nonexistent/file"},
			stage.Stage{Name: name, Run: func(_ context.Context, a *stage.Arguments, _ *progress.Reporter) error {
				ran = a.Tree == "/some/tree" && a.Epoch != nil && *a.Epoch == 1_700_000_000
				return nil
			}})
		if code != 0 || !ran {
			t.Errorf("%s: exit status %d, ran %v: %s", name, code, ran, log.String())
		}
	}
}

func TestArgumentsOfOsbuildComeFirst(t *testing.T) {
	file := filepath.Join(t.TempDir(), "arguments")
	if err := os.WriteFile(file, []byte(good+`, "devices": {}, "mounts": {}, "paths": {"inputs": "/in"}, "meta": {"id": "x"}, "later": 1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	var got *stage.Arguments
	p := call(t, "nothing to see", func(_ context.Context, a *stage.Arguments, _ *progress.Reporter) error { got = a; return nil },
		func(e *stage.Env) { e.ArgumentsPath, e.StdinIsTerminal = file, true })
	if p.code != 0 || got.Tree != "/t" || got.Epoch != nil || got.Inputs["images"].Path != "/in" {
		t.Errorf("got %+v, %+v", p, got)
	}
}

func TestOsbuildHearsWhatWentWrong(t *testing.T) {
	long := strings.Repeat("x", 1<<20) // more than fits into a packet
	for title, c := range map[string]struct {
		run  func(context.Context, *stage.Arguments, *progress.Reporter) error
		want string
		code int
	}{
		"failure": {failing(errors.New("layer 1 is damaged")), `{"method":"exception","exception":{"type":"StageError","value":"layer 1 is damaged","traceback":""}}`, 1},
		"refusal": {failing(stage.Refuse("options.x", "is bad")), `{"method":"exception","exception":{"type":"ArgumentsError","value":"options.x: is bad","traceback":""}}`, 2},
		"panic": {
			func(context.Context, *stage.Arguments, *progress.Reporter) error { panic("oh") },
			`{"method":"exception","exception":{"type":"Panic","value":"internal error: oh","traceback":""}}`, 1,
		},
		"long": {failing(errors.New(long)), `{"method":"exception","exception":{"type":"StageError","value":"` + long + `","traceback":""}}`, 1},
	} {
		path, receive := listen(t)
		got := call(t, good+"}", c.run, func(e *stage.Env) { e.APISocket = path })
		if got.code != c.code {
			t.Errorf("%s: exit status %d, want %d", title, got.code, c.code)
		}
		if message := receive(); message != c.want {
			t.Errorf("%s: got %.200s", title, message)
		}
	}
}

// listen is osbuild's end of the socket for one message.
func listen(t *testing.T) (path string, receive func() string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "api")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = errors.Join(unix.Bind(fd, &unix.SockaddrUnix{Name: path}), unix.Listen(fd, 1))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return path, func() string {
		conn, _, err := unix.Accept4(fd, unix.SOCK_CLOEXEC)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = unix.Close(conn) }()
		raw, control := make([]byte, 1<<21), make([]byte, unix.CmsgSpace(4))
		n, m, _, _, err := unix.Recvmsg(conn, raw, control, 0)
		if err != nil {
			t.Fatal(err)
		}
		if string(raw[:n]) != "<args-via-fd>" {
			return string(raw[:n])
		}
		messages, err := unix.ParseSocketControlMessage(control[:m])
		if err != nil {
			t.Fatal(err)
		}
		fds, err := unix.ParseUnixRights(&messages[0])
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = unix.Close(fds[0]) }()
		n, err = unix.Read(fds[0], raw)
		if err != nil {
			t.Fatal(err)
		}
		return string(raw[:n])
	}
}

func TestSignals(t *testing.T) {
	for sig, code := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
		signals := make(chan os.Signal, 1)
		got := call(t, good+"}", func(ctx context.Context, _ *stage.Arguments, _ *progress.Reporter) error {
			signals <- sig
			<-ctx.Done()
			return context.Cause(ctx)
		}, func(e *stage.Env) { e.Signals = signals })
		if got != (ending{code, "", name + ": failed: interrupted\n"}) {
			t.Errorf("%s: got %+v", sig, got)
		}
	}
}
