package hostsvc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"osbuild-containers/internal/panics"
)

// Handler answers one call. ctx is cancelled when the peer closes the connection or the context of Serve ends. An
// *Exception is sent unchanged; any other error becomes an exception named Error.
type Handler func(ctx context.Context, method string, args json.RawMessage) (reply any, err error)

// errPeerClosed is the cause of a call's context after the peer has closed the connection.
var errPeerClosed = errors.New("the caller closed the connection")

// Serve answers calls on the socket fd, one at a time. It returns nil when the peer closes the connection or ctx is
// cancelled, but only after the handler of the current call has returned. It does not close fd.
func Serve(ctx context.Context, fd int, handle Handler) error {
	if kind, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err != nil {
		return fmt.Errorf("descriptor %d of the service: %w", fd, err)
	} else if kind != unix.SOCK_SEQPACKET {
		return fmt.Errorf("descriptor %d of the service is not a SOCK_SEQPACKET socket", fd)
	}
	unix.CloseOnExec(fd)
	if err := unix.SetNonblock(fd, false); err != nil {
		return fmt.Errorf("descriptor %d of the service: %w", fd, err)
	}
	s := socket{fd}
	for {
		if err := s.wait(ctx, unix.POLLIN); err != nil {
			return nilIfOver(err)
		}
		raw, err := s.receive()
		failed, refused := errors.AsType[*Exception](err)
		if err != nil && !refused {
			return nilIfOver(err)
		}
		var reply any
		if failed == nil {
			reply, failed = s.call(ctx, raw, handle)
		}
		if err := s.send(encode(reply, failed)); err != nil {
			return nilIfOver(err)
		}
	}
}

// nilIfOver drops an error that only means that the connection or the context ended.
func nilIfOver(err error) error {
	if errors.Is(err, errClosed) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	return err
}

// call runs the handler. Another goroutine watches for the peer closing the connection.
func (s socket) call(ctx context.Context, raw []byte, handle Handler) (reply any, failed *Exception) {
	m, err := decodeMethod(raw)
	if err != nil {
		failed, _ = errors.AsType[*Exception](err)
		return nil, failed
	}
	watching, stopWatching := context.WithCancel(ctx)
	ctx, cancel := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		if s.wait(watching, unix.POLLRDHUP) == nil {
			cancel(errPeerClosed)
		}
	}()
	err = panics.Catch(func() (err error) {
		reply, err = handle(ctx, m.Name, m.Args)
		return err
	})
	stopWatching()
	<-watched
	cancel(nil)
	if err == nil {
		return reply, nil
	}
	if failed, ok := errors.AsType[*Exception](err); ok {
		return nil, failed
	}
	name := "Error"
	if _, ok := errors.AsType[*panics.Error](err); ok {
		name = "Panic"
	}
	return nil, &Exception{Name: name, Value: err.Error(), Backtrace: panics.Stack(err)}
}

// wait returns nil when one of the events occurs or the connection ends, or the error of ctx if that comes first.
func (s socket) wait(ctx context.Context, events int16) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("make event descriptor: %w", err)
	}
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(woken)
		_, _ = unix.Write(wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	})
	defer func() {
		if !stop() {
			<-woken // before the descriptor's number is used for something else
		}
		_ = unix.Close(wake)
	}()
	fds := []unix.PollFd{{Fd: int32(s.fd), Events: events}, {Fd: int32(wake), Events: unix.POLLIN}}
	if _, err := retry(func() (int, error) { return unix.Poll(fds, -1) }); err != nil {
		return fmt.Errorf("wait for message: %w", err)
	}
	if fds[0].Revents != 0 {
		return nil
	}
	return ctx.Err()
}
