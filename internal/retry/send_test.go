package retry

import (
	"context"
	"errors"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// mute is a body without any bytes. It must not be closed during a Read.
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

// If a server answers before it has received the whole body, the answer counts, and a client that still reads the body gets an error.
func TestAnAnswerBeforeAllIsSent(t *testing.T) {
	op := NewGroup(policy()).New(func(Failure) {})
	refused := errors.New("refused")
	read, over := make(chan struct{}), make(chan struct{})
	var body io.Reader
	err := op.Send(t.Context(), 9, func(ctx context.Context) (io.ReadCloser, error) {
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

// A token server that hangs is retried.
func TestFreshCredentialsThatDoNotCome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		p := policy()
		p.Stall = time.Second
		op := NewGroup(p).New(func(Failure) {})
		op.Renew = func(ctx context.Context) error {
			return op.Once(ctx, func(ctx context.Context) error {
				<-ctx.Done()
				return context.Cause(ctx)
			})
		}
		if err := op.Ask(t.Context(), func(context.Context) error {
			if asked++; asked == 1 {
				return errDenied
			}
			return nil
		}); err != nil || asked != 2 {
			t.Errorf("asked %d times: %v", asked, err)
		}
	})
}

// TestContentThatCannotBeRead checks that Send neither blames the server nor retries if the content cannot be read.
func TestContentThatCannotBeRead(t *testing.T) {
	lost, tries := errors.New("lost"), 0
	op := NewGroup(policy()).New(func(Failure) {})
	err := op.Send(t.Context(), 9, func(context.Context) (io.ReadCloser, error) {
		tries++
		return nil, lost
	}, func(_ context.Context, r io.Reader) error {
		_, err := io.ReadAll(r)
		return errors.Join(errTransient, err)
	})
	if !errors.As(err, new(*UnreadError)) || !errors.Is(err, lost) || tries != 1 {
		t.Errorf("%d tries, then %v", tries, err)
	}
}
