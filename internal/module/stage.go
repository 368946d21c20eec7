package module

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/hostsvc"
	"osbuild-containers/internal/panics"
	"osbuild-containers/internal/process"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/request"
)

// Stage is a stage of osbuild.
type Stage struct {
	Name    string // the module's name, for example org.osbuild.skopeo
	Example string // the fields inputs and options of its arguments, JSON, for --help

	// Run changes the tree. It returns soon when ctx is cancelled. A *request.Error means that the arguments are
	// invalid and the tree is unchanged.
	Run func(ctx context.Context, a *request.Arguments, log *progress.Reporter) error
}

// errTerminal is returned when there is no arguments file and standard input is a terminal.
var errTerminal = errors.New("standard input is a terminal")

// Main reads the arguments, runs the stage, and returns the exit status.
func (s Stage) Main(ctx context.Context, env Env) int {
	m := module{env: env, name: s.Name, usage: s.usage(), input: "the arguments are"}
	if status, done := m.parse(flag.NewFlagSet("", flag.ContinueOnError)); done {
		return status
	}
	failed, sig, err := process.Run(ctx, env.Signals, patience, func(ctx context.Context) error {
		return panics.Catch(func() error { return s.run(ctx, env) })
	})
	switch {
	case errors.Is(failed, errTerminal):
		return m.noInput()
	case sig == nil:
		s.report(env, failed)
		return status(failed)
	case err == nil && failed == nil: // finished before the signal took effect
		return process.OK
	case err == nil:
		s.report(env, process.ErrInterrupted)
	case !errors.Is(err, process.ErrSecondSignal):
		s.report(env, err)
	}
	return process.Signalled(sig)
}

func (s Stage) run(ctx context.Context, env Env) error {
	a, err := s.arguments(ctx, env)
	if err != nil {
		return err
	}
	log := env.Log()
	defer log.Close()
	return s.Run(ctx, a, log)
}

// arguments reads the arguments from osbuild's file, or from standard input if that file does not exist.
func (s Stage) arguments(ctx context.Context, env Env) (*request.Arguments, error) {
	in := env.Stdin
	switch f, err := os.Open(env.ArgumentsPath); {
	case err == nil:
		defer f.Close()
		in = f
	case !errors.Is(err, os.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR):
		return nil, request.Refuse("", "%v", err)
	case env.StdinIsTerminal:
		return nil, errTerminal
	}
	raw, err := process.Read(ctx, in)
	if err != nil {
		return nil, err
	}
	return request.DecodeArguments(s.Name, raw)
}

// report writes the error to standard error and sends it to osbuild.
func (s Stage) report(env Env, err error) {
	if err == nil {
		return
	}
	text, head := hint.Text(err, hint.Fields), "failed: "
	if isRefused(err) {
		head = "arguments refused: "
		if strings.Contains(text, "\n") {
			head = "arguments refused:\n"
		}
	}
	for line := range strings.Lines(head + text) {
		fmt.Fprintf(env.Stderr, "%s: %s\n", s.Name, strings.TrimSuffix(line, "\n"))
	}
	_, _ = io.WriteString(env.Stderr, panics.Stack(err))
	if err := sendException(env.APISocket, err); err != nil {
		fmt.Fprintf(env.Stderr, "%s: send the error to osbuild: %v\n", s.Name, err)
	}
}

// exception is the message that osbuild reads a stage's error from.
type exception struct {
	Method    string           `json:"method"`
	Exception exceptionDetails `json:"exception"`
}

type exceptionDetails struct {
	Type      string `json:"type"` // a class name; osbuild prints it before the value
	Value     string `json:"value"`
	Traceback string `json:"traceback"`
}

// sendException sends failed to the socket, if there is one.
func sendException(socket string, failed error) error {
	if info, err := os.Stat(socket); err == nil && info.Mode().Type() != os.ModeSocket || errors.Is(err, os.ErrNotExist) {
		return nil
	}
	kind := "StageError"
	if isRefused(failed) {
		kind = "ArgumentsError"
	} else if errors.Is(failed, process.ErrInterrupted) {
		kind = "Interrupted"
	} else if _, ok := errors.AsType[*panics.Error](failed); ok {
		kind = "Panic"
	}
	value := hint.Full(failed, hint.Fields)
	return hostsvc.Tell(socket, exception{"exception", exceptionDetails{kind, value, panics.Stack(failed)}})
}

func (s Stage) usage() string {
	return fmt.Sprintf(`usage: %[1]s < arguments.json

Reads its arguments, one JSON object, from /run/osbuild/api/arguments, where
osbuild puts them, or else from standard input; changes the tree; and writes its
log to standard error. %[1]s.meta.json describes the
inputs and options.

arguments.json:
  {"tree": "/some/tree",
   %[2]s,
   "meta": {"source-epoch": 1700000000}}

exit status: 0 done, 1 failed, 2 the arguments are invalid, 130 or 143
interrupted

  --version   print the version
  --help      print this
`, s.Name, s.Example)
}
