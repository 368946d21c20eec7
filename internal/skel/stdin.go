package skel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"syscall"
	"time"

	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/request"
)

// patience is how long an interrupted request may take to clean up.
const patience = 5 * time.Second

// errInterrupted is what is wrong with an item that a signal has stopped.
var errInterrupted = errors.New("interrupted")

// outcome is a reply on its way to standard output.
type outcome struct {
	reply Reply
	code  int
}

// answerStdin answers the request on standard input. The first signal cancels the
// work, which still gets its reply; the second one ends it at once.
func (s Source) answerStdin(ctx context.Context, env Env) int {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	log := newLog(env)
	answered := make(chan outcome, 1)
	go func() { answered <- s.answer(ctx, env, log) }()

	var o outcome
	select {
	case o = <-answered:
		log.Close()
	case sig := <-env.Signals:
		cancel(errInterrupted)
		select {
		case o = <-answered:
		case <-time.After(patience):
			o.reply = s.reply(nil, errInterrupted.Error())
		case sig := <-env.Signals:
			return signalled(sig)
		}
		log.Close()
		if !o.reply.Success && o.code != exitRefused {
			o = outcome{s.reply(o.reply.Results, errInterrupted.Error()), signalled(sig)}
		}
	}
	written := make(chan error, 1)
	go func() { written <- writeReply(env.Stdout, o.reply) }()
	select {
	case err := <-written:
		if err != nil {
			fmt.Fprintf(env.Stderr, "%s: write reply: %v; what was fetched is in the cache\n", s.Name, err)
			return exitFailed
		}
		return o.code
	case sig := <-env.Signals: // nobody reads
		return signalled(sig)
	}
}

func newLog(env Env) *progress.Reporter {
	if env.StderrIsTerminal {
		return progress.NewBars(env.Stderr)
	}
	return progress.NewLog(env.Stderr)
}

func signalled(sig os.Signal) int {
	if n, ok := sig.(syscall.Signal); ok {
		return exitSignal + int(n)
	}
	return exitFailed
}

// answer reads, checks and answers the request. Whatever happens there is a reply.
func (s Source) answer(ctx context.Context, env Env, log *progress.Reporter) (o outcome) {
	defer func() {
		if p := recover(); p != nil {
			fmt.Fprintf(env.Stderr, "%s: internal error: %v\n%s", s.Name, p, debug.Stack())
			o = outcome{s.reply(nil, fmt.Sprintf("internal error: %v", p)), exitFailed}
		}
	}()
	r, err := read(s.Name, env.Stdin)
	if err != nil {
		fmt.Fprintf(env.Stderr, "%s: request refused\n%v\n", s.Name, err)
		return outcome{s.reply(nil, err.Error()), exitRefused}
	}
	o.reply = s.reply(s.do(ctx, r, log), "")
	if !o.reply.Success {
		o.code = exitFailed
	}
	return o
}

func read(source string, stdin io.Reader) (*request.Request, error) {
	raw, err := request.Read(stdin)
	if err != nil {
		return nil, err
	}
	return request.Decode(source, raw)
}

func writeReply(w io.Writer, r Reply) error {
	line := json.NewEncoder(w) // ends with a line feed
	line.SetEscapeHTML(false)
	return line.Encode(r)
}
