// Package process holds what all executables share: their environment as a struct, so that tests need no process;
// version and exit statuses; signals; and reads that a context can end.
package process

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"golang.org/x/term"

	"osbuild-containers/internal/panics"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/request"
)

// Exit statuses.
const (
	OK      = 0
	Failed  = 1
	Refused = 2 // the command line or the input is invalid; nothing was touched
)

// Env is the process around a main function.
type Env struct {
	Args             []string // without the program's name
	Stdin            io.Reader
	Stdout, Stderr   io.Writer
	StdinIsTerminal  bool
	StderrIsTerminal bool             // draw progress as bars
	Quiet            bool             // write no progress, only why something failed
	Signals          <-chan os.Signal // SIGINT and SIGTERM; nil if none are expected
}

// OS returns the Env of this process. After the call, SIGINT and SIGTERM no longer end the process but are sent to
// Env.Signals. If [panics.Debug] is set, OS calls Debug.
func OS() Env {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	e := Env{
		Args:             os.Args[1:],
		Stdin:            os.Stdin,
		Stdout:           os.Stdout,
		Stderr:           os.Stderr,
		StdinIsTerminal:  term.IsTerminal(int(os.Stdin.Fd())),
		StderrIsTerminal: term.IsTerminal(int(os.Stderr.Fd())),
		Signals:          signals,
	}
	if os.Getenv(panics.Debug) != "" {
		e.Debug()
	}
	return e
}

// Debug writes the debug messages of log/slog to standard error, and progress as lines, since messages would break bars.
func (e *Env) Debug() {
	e.StderrIsTerminal = false
	slog.SetDefault(slog.New(progress.DebugHandler(e.Stderr)))
}

// Log returns a reporter that writes to standard error: bars on a terminal, lines otherwise.
func (e Env) Log() *progress.Reporter {
	if e.StderrIsTerminal && !e.Quiet {
		return progress.NewBars(e.Stderr)
	}
	return e.Lines()
}

// Lines returns a reporter that writes lines to standard error, on a terminal too.
func (e Env) Lines() *progress.Reporter {
	if e.Quiet {
		return progress.NewQuiet(e.Stderr)
	}
	return progress.NewLog(e.Stderr)
}

// Set by the linker, see the Makefile.
var (
	Version string // for example 1.0.0, or the commit where there is no tag
	Commit  string // abbreviated
	Date    string // of the commit
)

// VersionText returns the version with commit and date, or the version that Go recorded in the executable.
func VersionText() string {
	version, details := Version, []string{}
	if info, ok := debug.ReadBuildInfo(); version == "" && ok {
		version = info.Main.Version
	}
	if Commit != "" && !strings.HasPrefix(version, Commit) { // an untagged version is the commit
		details = append(details, Commit)
	}
	if Date != "" {
		details = append(details, Date)
	}
	if len(details) > 0 {
		return fmt.Sprintf("%s (%s)", cmp.Or(version, "unknown"), strings.Join(details, ", "))
	}
	return cmp.Or(version, "unknown")
}

// Read is [request.Read], but returns early when ctx is cancelled.
func Read(ctx context.Context, in io.Reader) ([]byte, error) {
	return Await(ctx, func() ([]byte, error) { return request.Read(in) })
}

// Await calls read in a goroutine and returns its result, or the cause of ctx if ctx is cancelled first. read is then
// left running, since a read from a pipe may never end: the process must be about to exit.
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
