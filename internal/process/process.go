// Package process is what the executables have in common, whoever starts them: the world around
// them as a struct, so that a test needs no process; flags, version and exit statuses; and
// standard input that is read until it is not wanted any more.
package process

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"golang.org/x/term"

	"osbuild-containers/internal/panics"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/request"
)

// The exit statuses.
const (
	OK      = 0
	Failed  = 1
	Refused = 2 // the command line, or what was to be done: nothing was touched
)

// Signalled is the exit status of a process that a signal has ended.
func Signalled(sig os.Signal) int {
	if n, ok := sig.(syscall.Signal); ok {
		return 128 + int(n)
	}
	return Failed
}

// Env is the process around a main function.
type Env struct {
	Args             []string // without the program's name
	Stdin            io.Reader
	Stdout, Stderr   io.Writer
	StdinIsTerminal  bool             // nobody is going to write JSON there
	StderrIsTerminal bool             // progress is drawn as bars
	Signals          <-chan os.Signal // SIGINT and SIGTERM; nil where there are none
}

// OS is the Env of this process. From here on, SIGINT and SIGTERM no longer end it.
func OS() Env {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	return Env{
		Args:             os.Args[1:],
		Stdin:            os.Stdin,
		Stdout:           os.Stdout,
		Stderr:           os.Stderr,
		StdinIsTerminal:  term.IsTerminal(int(os.Stdin.Fd())),
		StderrIsTerminal: term.IsTerminal(int(os.Stderr.Fd())),
		Signals:          signals,
	}
}

// Module is OS for an executable that a host engine starts: it does not end either when it writes to
// a pipe that nobody reads.
func Module() Env {
	// Received and dropped, not ignored: child processes inherit what is ignored.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	return OS()
}

// Log is where people see what happens.
func (e Env) Log() *progress.Reporter {
	if e.StderrIsTerminal {
		return progress.NewBars(e.Stderr)
	}
	return progress.NewLog(e.Stderr)
}

// Begin understands the command line of a module: the flags given and what a person may try, and
// nothing else, since input, "the request is" or the like, comes from standard input. It returns
// the exit status and true where that was all there is to do.
func (e Env) Begin(name, usage, input string, flags *flag.FlagSet) (status int, done bool) {
	flags.SetOutput(io.Discard)
	version := flags.Bool("version", false, "")
	switch err := flags.Parse(e.Args); {
	case errors.Is(err, flag.ErrHelp):
		return e.print(name, usage), true
	case err != nil:
		return e.Refuse(name, fmt.Errorf("%w; --help shows what there is", err)), true
	case flags.NArg() > 0:
		return e.Refuse(name, fmt.Errorf("unexpected argument %q; %s read from standard input, see --help", flags.Arg(0), input)), true
	case *version:
		return e.print(name, name+" "+VersionText()+"\n"), true
	}
	return OK, false
}

// Refuse says what is wrong with the command line.
func (e Env) Refuse(name string, err error) int {
	fmt.Fprintf(e.Stderr, "%s: %v\n", name, err)
	return Refused
}

// NoInput says that standard input is a terminal, where input, "a request is" or the like, is expected.
func (e Env) NoInput(name, usage, input string) int {
	fmt.Fprintf(e.Stderr, "%s: standard input is a terminal; %s expected there\n\n%s", name, input, usage)
	return Refused
}

func (e Env) print(name, text string) int {
	if _, err := io.WriteString(e.Stdout, text); err != nil {
		fmt.Fprintf(e.Stderr, "%s: write to standard output: %v\n", name, err)
		return Failed
	}
	return OK
}

// Version is set when a release is built.
var Version string

// VersionText is Version, or what the build says of itself.
func VersionText() string {
	if Version != "" {
		return Version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}

// Read is request.Read that does not wait for the end of the input when ctx is cancelled.
func Read(ctx context.Context, in io.Reader) ([]byte, error) {
	return Await(ctx, func() ([]byte, error) { return request.Read(in) })
}

// Await is what read returns, or why ctx ended before: a pipe, also one that has a name, may never end.
// read then continues beside the rest of the process, which is about to end.
func Await[T any](ctx context.Context, read func() (T, error)) (T, error) {
	type outcome struct {
		got T
		err error
	}
	done := make(chan outcome, 1)
	go func() {
		var o outcome
		o.err = panics.Catch(func() (err error) {
			o.got, err = read()
			return err
		})
		done <- o
	}()
	select {
	case o := <-done:
		return o.got, o.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}
