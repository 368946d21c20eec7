package fetch

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"osbuild-containers/internal/request"
)

// mute is a body whose bytes never come. It must not be closed while it is read.
type mute struct {
	t       *testing.T
	ctx     context.Context
	read    chan struct{}
	reading atomic.Bool
}

// Read implements io.Reader.
func (m *mute) Read([]byte) (int, error) {
	m.reading.Store(true)
	defer m.reading.Store(false)
	close(m.read)
	<-m.ctx.Done()
	return 0, context.Cause(m.ctx)
}

// Close implements io.Closer.
func (m *mute) Close() error {
	if m.reading.Load() {
		m.t.Error("it is closed while it is read")
	}
	return nil
}

// Where a registry answers before it has got all, an HTTP client may still read what is to be sent: the answer
// counts, and what is read is over.
func TestAnAnswerBeforeAllIsSent(t *testing.T) {
	s := &Sender{Options: request.DefaultOptions(), Note: t.Logf}
	refused := errors.New("refused")
	read, over := make(chan struct{}), make(chan struct{})
	var body io.Reader
	err := s.Send(t.Context(), 9, func(ctx context.Context) (io.ReadCloser, error) {
		return &mute{t: t, ctx: ctx, read: read}, nil
	}, func(_ context.Context, r io.Reader) error {
		body = r
		go func() {
			defer close(over)
			_, _ = r.Read(make([]byte, 9))
		}()
		<-read
		return refused
	})
	<-over
	if !errors.Is(err, refused) {
		t.Errorf("got %v, want what the registry said", err)
	}
	if n, err := body.Read(make([]byte, 9)); n != 0 || err == nil || err == io.EOF {
		t.Errorf("what is over gives %d bytes, %v", n, err)
	}
}

// A registry that is asked for a fresh token and hangs is asked again.
func TestAFreshTokenThatDoesNotCome(t *testing.T) {
	asked := 0
	s := &Sender{Options: request.DefaultOptions(), Note: t.Logf, Renew: func(ctx context.Context) error {
		<-ctx.Done()
		return context.Cause(ctx)
	}}
	s.Options.StallTimeout = 50 * time.Millisecond
	if err := s.Ask(t.Context(), func(context.Context) error {
		if asked++; asked == 1 {
			return errors.New("StatusCode: 401")
		}
		return nil
	}); err != nil || asked != 2 {
		t.Errorf("asked %d times: %v", asked, err)
	}
}
