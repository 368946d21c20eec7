// Package module is the one main of all sources.
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
package module

import (
	"context"
	"fmt"

	"osbuild-containers/internal/process"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/request"
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
type Env = process.Env

// OS is the Env of this process. From here on, SIGINT and SIGTERM no longer end the
// process, and neither does writing to a pipe that nobody reads.
func OS() Env { return process.Module() }

// Main does what the arguments say and returns the exit status.
func Main(ctx context.Context, env Env, s Source) int {
	var c command
	if status, done := env.Begin(s.Name, usage(s.Name), "the request is", c.flags()); done {
		return status
	}
	service, err := c.service()
	if err != nil {
		return env.Refuse(s.Name, err)
	}
	limitMemory(0)
	if service {
		return s.serve(ctx, env, c.fd)
	}
	if env.StdinIsTerminal {
		return env.NoInput(s.Name, usage(s.Name), "a request is")
	}
	return s.answerStdin(ctx, env)
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
