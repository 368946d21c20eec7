package module_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/module"
	"osbuild-containers/internal/process"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/request"
)

const stageName = "org.osbuild.skopeo"

const good = `{"tree": "/t", "options": {"destination": {"type": "dir", "path": "/i"}}, "inputs": {"images": {"path": "/in", "data": {"archives": {}}}}`

// runStage runs a stage with the given Run function.
func runStage(t *testing.T, stdin string, run func(context.Context, *request.Arguments, *progress.Reporter) error, change ...func(*module.Env)) ending {
	t.Helper()
	var stdout, stderr bytes.Buffer
	none := filepath.Join(t.TempDir(), "none")
	env := module.Env{Env: process.Env{Stdin: strings.NewReader(stdin), Stdout: &stdout, Stderr: &stderr}, ArgumentsPath: none, APISocket: none}
	for _, c := range change {
		c(&env)
	}
	code := module.Stage{Name: stageName, Run: run}.Main(context.Background(), env)
	return ending{code, stdout.String(), stderr.String()}
}

func fine(context.Context, *request.Arguments, *progress.Reporter) error { return nil }

func failsWith(err error) func(context.Context, *request.Arguments, *progress.Reporter) error {
	return func(context.Context, *request.Arguments, *progress.Reporter) error { return err }
}

func TestStageReportsItsError(t *testing.T) {
	for title, c := range map[string]struct {
		stdin string
		err   error
		want  ending
	}{
		"done":           {stdin: good + "}"},
		"failed":         {good + "}", errors.New("no space\nmake some"), ending{1, "", stageName + ": failed: no space\n" + stageName + ": make some\n"}},
		"refused by run": {good + "}", request.Refuse("options.x", "is bad"), ending{2, "", stageName + ": arguments refused: options.x: is bad\n"}},
		"refused": {
			good, nil,
			ending{2, "", stageName + fmt.Sprintf(": arguments refused: line 1, column %d: not JSON: the text is incomplete\n", len(good)+1)},
		},
		"two problems": {
			`{"options": {}}`, nil,
			ending{2, "", stageName + ": arguments refused:\n" + stageName + ": field \"tree\" is missing\n" + stageName + ": inputs: field \"images\" is missing\n" + stageName + ": options: field \"destination\" is missing\n"},
		},
	} {
		got := runStage(t, c.stdin, failsWith(c.err))
		if got != c.want {
			t.Errorf("%s\ngot  %+v\nwant %+v", title, got, c.want)
		}
	}
}

func TestStageCommandLine(t *testing.T) {
	for args, want := range map[string]ending{
		"--frobnicate": {2, "", stageName + ": flag provided but not defined: -frobnicate; see --help\n"},
		"a.json":       {2, "", stageName + ": unexpected argument \"a.json\"; the arguments are read from standard input, see --help\n"},
	} {
		if got := runStage(t, "", fine, func(e *module.Env) { e.Args = strings.Fields(args) }); got != want {
			t.Errorf("%s: got %+v", args, got)
		}
	}
	if got := runStage(t, "", fine, func(e *module.Env) { e.Args = []string{"--version"} }); got.code != 0 || !strings.HasPrefix(got.stdout, stageName+" ") {
		t.Errorf("--version: got %+v", got)
	}
	got := runStage(t, "", fine, func(e *module.Env) { e.StdinIsTerminal = true })
	if got.code != 2 || !strings.Contains(got.stderr, "standard input is a terminal") || !strings.Contains(got.stderr, "usage: ") {
		t.Errorf("terminal: got %+v", got)
	}
}

func TestArgumentsOfOsbuildComeFirst(t *testing.T) {
	file := filepath.Join(t.TempDir(), "arguments")
	if err := os.WriteFile(file, []byte(good+`, "devices": {}, "mounts": {}, "paths": {"inputs": "/in"}, "meta": {"id": "x"}, "later": 1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	var got *request.Arguments
	p := runStage(t, "nothing to see", func(_ context.Context, a *request.Arguments, _ *progress.Reporter) error { got = a; return nil },
		func(e *module.Env) { e.ArgumentsPath, e.StdinIsTerminal = file, true })
	if p.code != 0 || got.Tree != "/t" || got.Epoch != nil || got.Inputs["images"].Path != "/in" {
		t.Errorf("got %+v, %+v", p, got)
	}
}

func TestOsbuildHearsWhatWentWrong(t *testing.T) {
	long := strings.Repeat("x", 1<<20) // more than fits into a packet
	for title, c := range map[string]struct {
		run  func(context.Context, *request.Arguments, *progress.Reporter) error
		want string
		code int
	}{
		"failure": {failsWith(errors.New("layer 1 is damaged")), `{"method":"exception","exception":{"type":"StageError","value":"layer 1 is damaged","traceback":""}}`, 1},
		"hints of joined errors, once each": {
			failsWith(errors.Join(
				hint.Add(errors.New("a"), "repair it"), hint.Add(errors.New("b"), "raise %s", hint.Option("timeout")), hint.Add(errors.New("c"), "repair it"))),
			`{"method":"exception","exception":{"type":"StageError","value":"a\nb\nraise timeout\nc\nrepair it","traceback":""}}`, 1,
		},
		"refusal": {failsWith(request.Refuse("options.x", "is bad")), `{"method":"exception","exception":{"type":"ArgumentsError","value":"options.x: is bad","traceback":""}}`, 2},
		"panic": {
			func(context.Context, *request.Arguments, *progress.Reporter) error { panic("oh") },
			`{"method":"exception","exception":{"type":"Panic","value":"internal error: oh; please report it","traceback":""}}`, 1,
		},
		"long": {failsWith(errors.New(long)), `{"method":"exception","exception":{"type":"StageError","value":"` + long + `","traceback":""}}`, 1},
	} {
		path, receive := listen(t)
		got := runStage(t, good+"}", c.run, func(e *module.Env) { e.APISocket = path })
		if got.code != c.code {
			t.Errorf("%s: exit status %d, want %d", title, got.code, c.code)
		}
		if message := receive(); message != c.want {
			t.Errorf("%s: got %.200s", title, message)
		}
	}
}

// listen is osbuild's end of the socket, for one message.
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

func TestStageSignals(t *testing.T) {
	for sig, code := range map[syscall.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143} {
		signals := make(chan os.Signal, 1)
		got := runStage(t, good+"}", func(ctx context.Context, _ *request.Arguments, _ *progress.Reporter) error {
			signals <- sig
			<-ctx.Done()
			return context.Cause(ctx)
		}, func(e *module.Env) { e.Signals = signals })
		if got != (ending{code, "", stageName + ": failed: interrupted\n"}) {
			t.Errorf("%s: got %+v", sig, got)
		}
	}
}
