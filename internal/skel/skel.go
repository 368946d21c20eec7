// Package skel is the one main of all sources.
//
// A source says what it does in a Source: how it downloads the items of a request and
// how it copies them. The rest is here: which of the two transports speaks, a request
// on standard input or osbuild's host service; checking the request before anything is
// touched; the reply, always the same whole object; and the exit status.
//
//	0    all items are there
//	1    an item failed, or the reply could not be written
//	2    the request or the command line was refused; nothing was touched
//	130  interrupted by SIGINT
//	143  interrupted by SIGTERM
//
// As a service it exits with 0 when osbuild closes the connection: there, items that
// failed are told in the reply, and a request that was refused is an exception.
package skel

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/term"

	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/request"
)

// The exit statuses.
const (
	exitOK      = 0
	exitFailed  = 1
	exitRefused = 2
	exitSignal  = 128 // and the signal's number
)

// Answer does what a request asks. It returns one result for each of r.Items, in their
// order, also when items failed. When ctx is cancelled it cleans up and returns soon,
// with the cause of that as the error of what is not done.
type Answer func(ctx context.Context, r *request.Request, log *progress.Reporter) []request.Result

// Source is what one executable does.
type Source struct {
	Name     string // the module's name, as org.osbuild.skopeo
	Download Answer
	Copy     Answer
}

// Env is the process around Main.
type Env struct {
	Args             []string // without the program's name
	Stdin            io.Reader
	Stdout, Stderr   io.Writer
	StdinIsTerminal  bool             // nobody is going to write a request there
	StderrIsTerminal bool             // progress is drawn as bars
	Signals          <-chan os.Signal // SIGINT and SIGTERM; nil where there are none
}

// OS is the Env of this process. From here on, SIGINT and SIGTERM no longer end the
// process, and neither does writing to a pipe that nobody reads.
func OS() Env {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	// Received and dropped, not ignored: child processes inherit what is ignored.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
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

// Main does what the arguments say and returns the exit status.
func Main(ctx context.Context, env Env, s Source) int {
	cmd, err := parseArgs(env.Args)
	if err != nil {
		fmt.Fprintf(env.Stderr, "%s: %v\n", s.Name, err)
		return exitRefused
	}
	switch {
	case cmd.help:
		return s.print(env, usage(s.Name))
	case cmd.version:
		return s.print(env, s.Name+" "+VersionText()+"\n")
	}
	limitMemory(0)
	if cmd.service {
		return s.serve(ctx, env, cmd.fd)
	}
	if env.StdinIsTerminal {
		fmt.Fprintf(env.Stderr, "%s: standard input is a terminal; a request is expected there\n\n%s", s.Name, usage(s.Name))
		return exitRefused
	}
	return s.answerStdin(ctx, env)
}

func (s Source) print(env Env, text string) int {
	if _, err := io.WriteString(env.Stdout, text); err != nil {
		fmt.Fprintf(env.Stderr, "%s: write to standard output: %v\n", s.Name, err)
		return exitFailed
	}
	return exitOK
}

// do answers the request with one result for each item.
func (s Source) do(ctx context.Context, r *request.Request, log *progress.Reporter) []request.Result {
	answer := s.Download
	if r.Method == request.Copy {
		answer = s.Copy
	}
	results := answer(ctx, r, log)
	if len(results) != len(r.Items) {
		panic(fmt.Sprintf("%s: %d results for %d items", s.Name, len(results), len(r.Items)))
	}
	return results
}
