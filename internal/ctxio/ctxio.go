// Package ctxio makes readers end with a context.
package ctxio

import (
	"context"
	"io"
)

// Reader returns a reader of r whose Read returns the cause of ctx once ctx is done. It does not interrupt a Read that blocks.
func Reader(ctx context.Context, r io.Reader) io.Reader { return reader{ctx, r} }

type reader struct {
	context.Context
	io.Reader
}

// Read implements io.Reader.
func (r reader) Read(p []byte) (int, error) {
	if r.Err() != nil {
		return 0, context.Cause(r)
	}
	return r.Reader.Read(p)
}
