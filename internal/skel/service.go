package skel

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"osbuild-containers/internal/hostsvc"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/request"
)

// serve is osbuild's host service. Nobody reads env.Signals: osbuild ends a service by
// closing the connection.
func (s Source) serve(ctx context.Context, env Env, fd int) int {
	log := progress.NewLog(env.Stderr)
	defer log.Close()
	err := hostsvc.Serve(ctx, fd, func(ctx context.Context, method string, args json.RawMessage, files []*os.File) (any, error) {
		return s.handle(ctx, log, method, args, files)
	})
	if err != nil {
		fmt.Fprintf(env.Stderr, "%s: serve: %v\n", s.Name, err)
		return exitFailed
	}
	return exitOK
}

// handle answers one call. An item that failed is no exception.
func (s Source) handle(ctx context.Context, log *progress.Reporter, method string, args json.RawMessage, files []*os.File) (any, error) {
	if method != request.Download && method != request.Copy {
		return nil, &hostsvc.Exception{Name: "ProtocolError", Value: fmt.Sprintf("unknown method %q", method)}
	}
	var items []byte
	if len(files) > 0 {
		var err error
		if items, err = hostsvc.ReadFile(files[0], request.MaxSize); err != nil {
			return nil, fmt.Errorf("file of items: %w", err)
		}
	}
	r, err := request.DecodeArgs(s.Name, method, args, items)
	if refused, ok := errors.AsType[*request.Error](err); ok {
		return nil, &hostsvc.Exception{Name: "RequestError", Value: refused.Error()}
	}
	if err != nil {
		return nil, err
	}
	return s.reply(s.do(ctx, r, log), ""), nil
}
