package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"osbuild-containers/internal/hostsvc"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/request"
)

// patience is how long a stage may clean up when its work has been cancelled.
const patience = 10 * time.Second

// errInterrupted is the cause of a cancelled context after a signal.
var errInterrupted = errors.New("interrupted")

// errUsage is that of standard input being a terminal.
var errUsage = errors.New("standard input is a terminal; the arguments are expected there")

// Main does what the arguments say and returns the exit status.
func Main(ctx context.Context, env Env, s Stage) int {
	cmd, err := parseArgs(env.Args)
	if err != nil {
		fmt.Fprintf(env.Stderr, "%s: %v\n", s.Name, err)
		return exitRefused
	}
	switch {
	case cmd.help:
		return s.print(env, usage(s.Name))
	case cmd.version:
		return s.print(env, s.Name+" "+version()+"\n")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ended := make(chan failure, 1)
	go func() { ended <- s.run(ctx, env) }()
	select {
	case f := <-ended:
		return s.report(env, f)
	case sig := <-env.Signals:
		cancel(errInterrupted)
		select {
		case f := <-ended:
			if f.err == nil { // all was done
				return exitOK
			}
			s.report(env, failure{err: errInterrupted, kind: "Interrupted"})
		case <-time.After(patience):
			s.report(env, failure{err: fmt.Errorf("%w, and the work has not ended %s later", errInterrupted, patience), kind: "Interrupted"})
		case <-env.Signals:
		}
		return signalled(sig)
	}
}

func (s Stage) print(env Env, text string) int {
	if _, err := io.WriteString(env.Stdout, text); err != nil {
		fmt.Fprintf(env.Stderr, "%s: write to standard output: %v\n", s.Name, err)
		return exitFailed
	}
	return exitOK
}

func signalled(sig os.Signal) int {
	if n, ok := sig.(syscall.Signal); ok {
		return exitSignal + int(n)
	}
	return exitFailed
}

// failure is how the work ended: well when err is nil.
type failure struct {
	err       error
	kind      string // as a class is called; osbuild shows it before the text
	traceback string
}

// run reads and checks the arguments and does the work.
func (s Stage) run(ctx context.Context, env Env) (f failure) {
	defer func() {
		if p := recover(); p != nil {
			f = failure{err: fmt.Errorf("internal error: %v", p), kind: "Panic"}
			if os.Getenv(hostsvc.Debug) != "" {
				f.traceback = string(debug.Stack())
			}
		}
	}()
	a, err := s.arguments(ctx, env)
	if err == nil {
		log := progress.NewLog(env.Stderr)
		if env.StderrIsTerminal {
			log = progress.NewBars(env.Stderr)
		}
		defer log.Close()
		err = s.Run(ctx, a, log)
	}
	kind := "StageError"
	if isRefused(err) {
		kind = "ArgumentsError"
	}
	return failure{err: err, kind: kind}
}

func isRefused(err error) bool {
	_, refused := errors.AsType[*request.Error](err)
	return refused
}

// arguments reads them from the file, or from standard input if there is no file.
func (s Stage) arguments(ctx context.Context, env Env) (*Arguments, error) {
	in := env.Stdin
	switch f, err := os.Open(env.ArgumentsPath); {
	case err == nil:
		defer f.Close()
		in = f
	case !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR):
		return nil, fmt.Errorf("read arguments: %w", err)
	case env.StdinIsTerminal:
		return nil, errUsage
	}
	raw, err := read(ctx, in)
	if err != nil {
		return nil, err
	}
	return request.DecodeArguments(s.Name, raw)
}

// read does not wait for the end of the input when ctx is cancelled.
func read(ctx context.Context, in io.Reader) (raw []byte, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		raw, err = request.Read(in)
	}()
	select {
	case <-done:
		return raw, err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// report tells people and osbuild what went wrong, and returns the exit status.
func (s Stage) report(env Env, f failure) int {
	if f.err == nil {
		return exitOK
	}
	code, text := exitFailed, f.err.Error()
	head := "failed: "
	switch {
	case errors.Is(f.err, errUsage):
		fmt.Fprintf(env.Stderr, "%s: %v\n\n%s", s.Name, f.err, usage(s.Name))
		return exitRefused
	case isRefused(f.err):
		code, head = exitRefused, "arguments refused: "
		if strings.Contains(text, "\n") {
			head = "arguments refused:\n"
		}
	}
	for line := range strings.Lines(head + text) {
		fmt.Fprintf(env.Stderr, "%s: %s\n", s.Name, progress.Clean(strings.TrimSuffix(line, "\n")))
	}
	if f.traceback != "" {
		fmt.Fprintf(env.Stderr, "%s\n", f.traceback)
	}
	if err := tell(env.APISocket, f); err != nil {
		fmt.Fprintf(env.Stderr, "%s: tell osbuild: %v\n", s.Name, err)
	}
	return code
}

// exception is the message that osbuild takes as the stage's error.
type exception struct {
	Method    string           `json:"method"`
	Exception exceptionDetails `json:"exception"`
}

type exceptionDetails struct {
	Type      string `json:"type"`
	Value     string `json:"value"`
	Traceback string `json:"traceback"`
}

// tell sends the exception where somebody listens.
func tell(socket string, f failure) error {
	if info, err := os.Stat(socket); err == nil && info.Mode().Type() == os.ModeSocket {
		return hostsvc.Tell(socket, exception{"exception", exceptionDetails{f.kind, f.err.Error(), f.traceback}})
	}
	return nil
}
