package registry

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"

	"osbuild-containers/internal/retry"
)

// maxAnswers limits the answers to all requests of one operation together, in bytes: a manifest may have 4 MiB and a
// token 1 MiB.
const maxAnswers = 16 << 20

// tooLongError reports answers longer than maxAnswers.
type tooLongError struct{}

func (tooLongError) Error() string {
	return fmt.Sprintf("the registry's answer is longer than %d bytes", maxAnswers)
}

// limited returns a context for one operation whose documents are limited to maxAnswers together.
func limited(ctx context.Context) context.Context {
	return context.WithValue(ctx, arrivedKey{}, new(atomic.Int64))
}

type arrivedKey struct{}

// document is the body of an answer that is not a blob.
type document struct {
	io.ReadCloser
	moved   func(int)
	arrived *atomic.Int64 // nil if the library has its own limit
}

func newDocument(ctx context.Context, body io.ReadCloser) document {
	arrived, _ := ctx.Value(arrivedKey{}).(*atomic.Int64)
	return document{body, retry.Progress(ctx), arrived}
}

// Read implements io.Reader.
func (d document) Read(p []byte) (int, error) {
	n, err := d.ReadCloser.Read(p)
	if n > 0 {
		d.moved(n)
	}
	if d.arrived != nil && d.arrived.Add(int64(n)) > maxAnswers {
		return 0, tooLongError{}
	}
	return n, err
}
