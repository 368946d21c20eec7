package stage

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"osbuild-containers/internal/hostsvc"
	"osbuild-containers/internal/process"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/request"
)

// patience is how long a stage may clean up when its work has been cancelled.
const patience = 10 * time.Second

// errInterrupted is the cause of a cancelled context after a signal.
var errInterrupted = errors.New("interrupted")

// errTerminal is that nobody gives arguments.
var errTerminal = errors.New("standard input is a terminal")

// Main does what the arguments say and returns the exit status.
func Main(ctx context.Context, env Env, s Stage) int {
	if status, done := env.Begin(s.Name, usage(s.Name), "the arguments are", flag.NewFlagSet("", flag.ContinueOnError)); done {
		return status
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
				return process.OK
			}
			s.report(env, failure{err: errInterrupted, kind: "Interrupted"})
		case <-time.After(patience):
			s.report(env, failure{err: fmt.Errorf("%w, and the work has not ended %s later", errInterrupted, patience), kind: "Interrupted"})
		case <-env.Signals:
		}
		return process.Signalled(sig)
	}
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
		log := env.Log()
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
		return nil, errTerminal
	}
	raw, err := process.Read(ctx, in)
	if err != nil {
		return nil, err
	}
	return request.DecodeArguments(s.Name, raw)
}

// report tells people and osbuild what went wrong, and returns the exit status.
func (s Stage) report(env Env, f failure) int {
	if f.err == nil {
		return process.OK
	}
	code, text := process.Failed, f.err.Error()
	head := "failed: "
	switch {
	case errors.Is(f.err, errTerminal):
		return env.NoInput(s.Name, usage(s.Name), "the arguments are")
	case isRefused(f.err):
		code, head = process.Refused, "arguments refused: "
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
