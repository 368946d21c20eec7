package registry

import (
	"context"
	"fmt"
	"io"
	"sync/atomic"

	"osbuild-containers/internal/retry"
)

// maxAnswers is how long the answers to one question may be together, in bytes: a manifest may have
// 4 MiB, a token 1 MiB.
const maxAnswers = 16 << 20

// tooLongError is an answer that is longer than one that means well.
type tooLongError struct{}

func (tooLongError) Error() string {
	return fmt.Sprintf("the registry's answer is longer than %d bytes", maxAnswers)
}

// limited is a context for one question: the documents that answer it have maxAnswers together.
func limited(ctx context.Context) context.Context {
	return context.WithValue(ctx, arrivedKey{}, new(atomic.Int64))
}

type arrivedKey struct{}

// document is the body of an answer that is no blob.
type document struct {
	io.ReadCloser
	moved   func(int)
	arrived *atomic.Int64 // nil: the library has a limit
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
