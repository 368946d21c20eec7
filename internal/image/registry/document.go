package registry

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"

	"osbuild-containers/internal/retry"
)

// maxResponses limits the responses to all requests of one operation together, in bytes: a manifest may have 4 MiB and a
// token 1 MiB.
const maxResponses = 16 << 20

// tooLongError reports responses longer than maxResponses.
type tooLongError struct{}

func (tooLongError) Error() string {
	return fmt.Sprintf("the registry's answer is longer than %d bytes", maxResponses)
}

// limited returns a context for one operation whose documents are limited to maxResponses together.
func limited(ctx context.Context) context.Context {
	return context.WithValue(ctx, receivedKey{}, new(atomic.Int64))
}

type receivedKey struct{}

// document is the body of a response that is not a blob.
type document struct {
	io.ReadCloser
	moved    func(int)
	received *atomic.Int64 // nil if the library has its own limit
}

func newDocument(ctx context.Context, body io.ReadCloser) document {
	received, _ := ctx.Value(receivedKey{}).(*atomic.Int64)
	return document{body, retry.Progress(ctx), received}
}

// Read implements io.Reader.
func (d document) Read(p []byte) (int, error) {
	n, err := d.ReadCloser.Read(p)
	if n > 0 {
		d.moved(n)
	}
	if d.received != nil && d.received.Add(int64(n)) > maxResponses {
		return 0, tooLongError{}
	}
	return n, err
}
