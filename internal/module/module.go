// Package module is the main function of the modules that osbuild starts, sources and stages.
//
// A module is a [Source] or a [Stage]: its name, what it does, and an example for --help. This package does the
// rest: it parses the command line, validates the input before anything is touched, and handles signals, panics, the
// answer and the exit status:
//
//	0    success; a source has all items
//	1    failed; for a source, also if the reply cannot be written
//	2    the input or the command line is invalid; nothing was touched
//	130  interrupted by SIGINT
//	143  interrupted by SIGTERM
//
// A source reads a request from standard input and writes one [Reply] to standard output. Started with
// --service-fd it is a host service of osbuild instead: it answers calls until osbuild closes the
// connection, and then exits with 0. Failed items are part of a reply, an invalid request is an
// exception.
//
// A stage reads its arguments from osbuild's file, or from standard input if that file does not exist. It writes an
// error to standard error and sends it to osbuild's socket, if there is one. A stage needs nothing from the build
// root: no file in /etc, no HOME, no temporary directory. After an error it leaves the tree as it is; osbuild
// discards the tree of a failed stage.
package module

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"osbuild-containers/internal/process"
	"osbuild-containers/internal/request"
)

// patience is how long a module may clean up after a signal, or after osbuild closes the connection.
const patience = 10 * time.Second

// Env is the environment of a module.
type Env struct {
	process.Env
	ArgumentsPath string // osbuild's file with the arguments of a stage
	APISocket     string // osbuild's socket for the exceptions of a stage
}

// OS returns the Env of this process. After the call, SIGINT, SIGTERM and SIGPIPE no longer end the process.
func OS() Env {
	// Notify, not Ignore: child processes inherit ignored signals.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	return Env{Env: process.OS(), ArgumentsPath: "/run/osbuild/api/arguments", APISocket: "/run/osbuild/api/osbuild"}
}

// isRefused reports whether err says that the input is invalid.
func isRefused(err error) bool {
	_, refused := errors.AsType[*request.Error](err)
	return refused
}

// status returns the exit status for err.
func status(err error) int {
	switch {
	case err == nil:
		return process.OK
	case isRefused(err):
		return process.Refused
	}
	return process.Failed
}

// module is the command line of a source or stage.
type module struct {
	env   Env
	name  string
	usage string
	input string // what standard input holds, with a verb, for errors: "a request is"
}

// parse parses the command line. If done is true, Main must return status.
func (m module) parse(flags *flag.FlagSet) (status int, done bool) {
	flags.SetOutput(io.Discard)
	version := flags.Bool("version", false, "")
	switch err := flags.Parse(m.env.Args); {
	case errors.Is(err, flag.ErrHelp):
		return m.print(m.usage), true
	case err != nil:
		return m.refuse(fmt.Errorf("%w; see --help", err)), true
	case flags.NArg() > 0:
		return m.refuse(fmt.Errorf("unexpected argument %q; %s read from standard input, see --help", flags.Arg(0), m.input)), true
	case *version:
		return m.print(m.name + " " + process.VersionText() + "\n"), true
	}
	return process.OK, false
}

// refuse reports an invalid command line.
func (m module) refuse(err error) int {
	fmt.Fprintf(m.env.Stderr, "%s: %v\n", m.name, err)
	return process.Refused
}

// noInput reports that standard input is a terminal.
func (m module) noInput() int {
	status := m.refuse(fmt.Errorf("standard input is a terminal; %s expected there", m.input))
	fmt.Fprintf(m.env.Stderr, "\n%s\n", m.usage)
	return status
}

func (m module) print(text string) int {
	if _, err := io.WriteString(m.env.Stdout, text); err != nil {
		fmt.Fprintf(m.env.Stderr, "%s: write to standard output: %v\n", m.name, err)
		return process.Failed
	}
	return process.OK
}
