package hostsvc

import (
	"encoding/json"
	"fmt"

	"golang.org/x/sys/unix"
)

// Tell sends one message to the socket at path, on which osbuild listens to its stages. It does not wait for
// an answer.
func Tell(path string, message any) error {
	raw, err := json.Marshal(message)
	if err != nil {
		return fmt.Errorf("encode message: %w", err)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("make socket: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	_, err = retry(func() (int, error) { return 0, unix.Connect(fd, &unix.SockaddrUnix{Name: path}) })
	if err != nil {
		return fmt.Errorf("connect to %s: %w", path, err)
	}
	return socket{fd}.send(raw)
}
