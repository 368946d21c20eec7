package module

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"osbuild-containers/internal/hostsvc"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/request"
)

// serve runs a host service. It ignores env.Signals: osbuild ends a service by closing the connection and then waits
// for the process.
func (s Source) serve(ctx context.Context, env Env, fd int) int {
	log := progress.NewLog(env.Stderr)
	defer log.Close()
	served, late := make(chan error, 1), make(chan struct{}, 1)
	go func() {
		served <- hostsvc.Serve(ctx, fd, func(ctx context.Context, method string, args json.RawMessage) (any, error) {
			defer context.AfterFunc(ctx, func() {
				time.AfterFunc(patience, func() { late <- struct{}{} })
			})()
			return s.handle(ctx, log, method, args)
		})
	}()
	var err error
	select {
	case err = <-served:
	case <-late:
		err = fmt.Errorf("the connection was closed, and the work did not end within %s", patience)
	}
	if err != nil {
		fmt.Fprintf(env.Stderr, "%s: %v\n", s.Name, err)
	}
	return status(err)
}

// handle answers one call. A failed item is an exception only for versions of osbuild that ignore replies.
func (s Source) handle(ctx context.Context, log *progress.Reporter, method string, args json.RawMessage) (any, error) {
	if method != request.Download && method != request.Copy {
		return nil, &hostsvc.Exception{Name: "ProtocolError", Value: fmt.Sprintf("unknown method %q", method)}
	}
	version := hostVersion()
	if version != 0 && version < inlineItems {
		return nil, &hostsvc.Exception{Name: "RequestError", Value: fmt.Sprintf(
			"osbuild v%d is too old for this source: use v%d or later, or osbuild's own modules", version, inlineItems)}
	}
	limitMemory(len(args))
	r, err := request.DecodeArgs(s.Name, method, args)
	if isRefused(err) {
		return nil, &hostsvc.Exception{Name: "RequestError", Value: err.Error()}
	}
	if err != nil {
		return nil, err
	}
	return s.reply(s.do(ctx, r, log), nil).toHost(version)
}
