package module

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"time"

	"osbuild-containers/internal/hostsvc"
	"osbuild-containers/internal/process"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/request"
)

// patience is how long an Answer may clean up when its work has been cancelled.
const patience = 5 * time.Second

// errInterrupted is what is wrong with an item that a signal has stopped.
var errInterrupted = errors.New("interrupted")

// outcome is a reply on its way to standard output.
type outcome struct {
	reply Reply
	code  int
}

// answerStdin answers the request on standard input. The first signal cancels the
// work, which still gets its reply; the second one ends the process at once.
func (s Source) answerStdin(ctx context.Context, env Env) int {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	log := env.Log()
	defer log.Close()
	answered := make(chan outcome, 1)
	go func() { answered <- s.answer(ctx, env, log) }()

	var o outcome
	select {
	case o = <-answered:
	case sig := <-env.Signals:
		cancel(errInterrupted)
		select {
		case o = <-answered:
		case <-time.After(patience):
			o = outcome{s.reply(nil, errInterrupted.Error()), process.Failed}
		case sig := <-env.Signals:
			return process.Signalled(sig)
		}
		if o.code == process.Failed { // else all is done, or nothing was begun
			o = outcome{s.reply(o.reply.Results, errInterrupted.Error()), process.Signalled(sig)}
		}
	}
	log.Close()
	written := make(chan error, 1)
	go func() { written <- writeReply(env.Stdout, o.reply) }()
	select {
	case err := <-written:
		if err != nil {
			fmt.Fprintf(env.Stderr, "%s: write reply: %v; what was fetched is in the cache\n", s.Name, err)
			return process.Failed
		}
		return o.code
	case sig := <-env.Signals: // nobody reads the reply
		return process.Signalled(sig)
	}
}

// answer reads, checks and answers the request. Whatever happens, there is a reply.
func (s Source) answer(ctx context.Context, env Env, log *progress.Reporter) (o outcome) {
	defer func() {
		if p := recover(); p != nil {
			log.Note("internal error: %v", p)
			if os.Getenv(hostsvc.Debug) != "" {
				fmt.Fprintf(env.Stderr, "%s\n", debug.Stack())
			}
			o = outcome{s.reply(nil, fmt.Sprintf("internal error: %v", p)), process.Failed}
		}
	}()
	r, err := s.read(ctx, env.Stdin)
	if ctx.Err() != nil {
		return outcome{s.reply(nil, context.Cause(ctx).Error()), process.Failed}
	}
	if err != nil {
		fmt.Fprintf(env.Stderr, "%s: request refused\n%v\n", s.Name, err)
		return outcome{s.reply(nil, err.Error()), process.Refused}
	}
	o.reply = s.reply(s.do(ctx, r, log), "")
	if !o.reply.Success {
		o.code = process.Failed
	}
	return o
}

func (s Source) read(ctx context.Context, stdin io.Reader) (*request.Request, error) {
	raw, err := process.Read(ctx, stdin)
	if err != nil {
		return nil, err
	}
	limitMemory(len(raw))
	return request.Decode(s.Name, raw)
}

// writeReply writes one line.
func writeReply(w io.Writer, r Reply) error {
	line := json.NewEncoder(w)
	line.SetEscapeHTML(false)
	return line.Encode(r)
}
