package module

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"osbuild-containers/internal/panics"
	"osbuild-containers/internal/process"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/request"
)

// answerStdin answers the request on standard input. The first signal cancels the work but a reply is still written;
// after the second there is no reply.
func (s Source) answerStdin(ctx context.Context, env Env) int {
	log := env.Log()
	defer log.Close()
	type answer struct {
		reply  Reply
		status int
	}
	a, sig, err := process.Run(ctx, env.Signals, patience, func(ctx context.Context) answer {
		results, err := s.answer(ctx, env, log)
		r := s.reply(results, err)
		if err == nil && !r.Success {
			return answer{r, process.Failed}
		}
		return answer{r, status(err)}
	})
	if errors.Is(err, process.ErrSecondSignal) {
		return process.Signalled(sig)
	}
	if sig != nil && (err != nil || a.status == process.Failed) { // otherwise the work is complete or never started
		a = answer{s.reply(a.reply.Results, process.ErrInterrupted), process.Signalled(sig)}
	}
	log.Close()
	written := make(chan error, 1)
	go func() { written <- writeReply(env.Stdout, a.reply) }()
	select {
	case err := <-written:
		if err != nil {
			fmt.Fprintf(env.Stderr, "%s: write reply: %v; what was fetched is in the cache\n", s.Name, err)
			return process.Failed
		}
		return a.status
	case sig := <-env.Signals: // the reply has no reader
		return process.Signalled(sig)
	}
}

// answer reads, validates and answers the request. It logs refusals.
func (s Source) answer(ctx context.Context, env Env, log *progress.Reporter) (results []request.Result, err error) {
	err = panics.Catch(func() error {
		r, err := s.read(ctx, env.Stdin)
		if err != nil {
			return err
		}
		results = s.do(ctx, r, log)
		return nil
	})
	switch {
	case err == nil || errors.Is(err, process.ErrInterrupted):
	case isRefused(err):
		fmt.Fprintf(env.Stderr, "%s: request refused\n%v\n", s.Name, err)
	default:
		log.Note("%v", err)
		_, _ = io.WriteString(env.Stderr, panics.Stack(err))
	}
	return results, err
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
