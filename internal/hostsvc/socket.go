package hostsvc

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

const (
	// viaFile is the content of a packet whose message is in the attached file.
	viaFile = "<args-via-fd>"

	// maxMessage is the maximum size of a message, in bytes.
	maxMessage = 65 << 20

	maxFiles = 253 // descriptors in one packet, the kernel's SCM_MAX_FD
)

// errClosed means that the peer has closed the connection.
var errClosed = errors.New("connection closed")

// socket is one end of the connection. Only one goroutine may receive at a time.
type socket struct {
	fd int
}

// receive waits for the next message and closes all descriptors that come with it. The connection can be used after
// an [*Exception], which is the answer to send; all other errors, errClosed included, are final.
func (s socket) receive() ([]byte, error) {
	size, err := retry(func() (int, error) {
		n, _, err := unix.Recvfrom(s.fd, nil, unix.MSG_PEEK|unix.MSG_TRUNC)
		return n, err
	})
	if err != nil {
		return nil, closedOr("peek at message", err)
	}
	if size == 0 {
		return nil, errClosed
	}
	raw, control := make([]byte, size), make([]byte, unix.CmsgSpace(maxFiles*4))
	var controlLen, flags int
	n, err := retry(func() (n int, err error) {
		n, controlLen, flags, _, err = unix.Recvmsg(s.fd, raw, control, unix.MSG_CMSG_CLOEXEC)
		return n, err
	})
	if err != nil {
		return nil, closedOr("receive message", err)
	}
	files := filesOf(control[:controlLen])
	defer closeAll(files)
	if flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		return nil, protocolError("message was truncated")
	}
	if string(raw[:n]) != viaFile {
		return raw[:n], nil
	}
	if len(files) == 0 {
		return nil, protocolError("message has no file descriptor, want one with the message")
	}
	raw, err = readFile(files[0])
	if err != nil {
		return nil, protocolError("message in a file: %v", err)
	}
	return raw, nil
}

// readFile reads a message from a regular file of at most maxMessage bytes.
func readFile(f *os.File) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	if info.Size() > maxMessage {
		return nil, fmt.Errorf("has %d bytes, more than %d", info.Size(), maxMessage)
	}
	raw := make([]byte, info.Size())
	// Not Read: the sender shares the offset.
	if _, err := io.ReadFull(io.NewSectionReader(f, 0, info.Size()), raw); err != nil {
		return nil, err
	}
	return raw, nil
}

// send sends one message, in a file if it is too large for a packet.
func (s socket) send(raw []byte) error {
	if len(raw) <= maxPacket("/proc/sys/net/core/wmem_max") {
		// The kernel refuses a packet that does not fit into the buffer.
		if size, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUF); err == nil && size < len(raw) {
			_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_SNDBUF, len(raw))
		}
		err := s.sendPacket(raw, nil)
		if !errors.Is(err, unix.EMSGSIZE) && !errors.Is(err, unix.ENOBUFS) {
			return err
		}
	}
	fd, err := unix.MemfdCreate("message", unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("make memory file: %w", err)
	}
	f := os.NewFile(uintptr(fd), "message")
	defer f.Close()
	if _, err := io.Copy(f, bytes.NewReader(raw)); err != nil {
		return fmt.Errorf("write memory file: %w", err)
	}
	// The peer reads from the current offset.
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("rewind memory file: %w", err)
	}
	return s.sendPacket([]byte(viaFile), unix.UnixRights(fd))
}

func (s socket) sendPacket(raw, control []byte) error {
	_, err := retry(func() (int, error) {
		return unix.SendmsgN(s.fd, raw, control, nil, unix.MSG_NOSIGNAL)
	})
	return closedOr("send message", err)
}

// maxPacket returns the largest size of a message sent as one packet, in bytes, read from the file at path.
func maxPacket(path string) int {
	const withoutProc = 64000 // what osbuild takes where /proc is missing
	raw, err := os.ReadFile(path)
	if err != nil {
		return withoutProc
	}
	n, err := strconv.Atoi(string(bytes.TrimSpace(raw)))
	if err != nil {
		return withoutProc
	}
	return n
}

// filesOf returns the descriptors that came with a packet, as files that the caller must close.
func filesOf(control []byte) (files []*os.File) {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil
	}
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue // another kind
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "fd "+strconv.Itoa(len(files))))
		}
	}
	return files
}

func closeAll(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// retry repeats a system call that a signal has interrupted.
func retry(call func() (int, error)) (int, error) {
	for {
		n, err := call()
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

func closedOr(doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EPIPE), errors.Is(err, unix.ECONNRESET):
		return errClosed
	}
	return fmt.Errorf("%s: %w", doing, err)
}
