package image

import (
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// meter looks at a connection of which the bodies cannot be seen: how many bytes the kernel has
// got for it. Where the kernel does not say, it sees nothing.
type meter struct {
	moved   func(int) // bytes have arrived
	tooLong func()    // more than an answer may have

	mu          sync.Mutex
	conn        net.Conn // nil: none at this time
	begin, last int64    // bytes when the connection was got, and when it was looked at
}

// meterEvery is the time between two looks: in it a fast network brings some megabytes.
const meterEvery = 10 * time.Millisecond

// set is called with the connection of each request, and with nil before it.
func (m *meter) set(conn net.Conn) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.conn, m.begin = conn, 0
	if conn != nil {
		m.begin = received(conn)
	}
	m.last = m.begin
}

// run looks at the connection until stop is called.
func (m *meter) run() (stop func()) {
	end := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		tick := time.NewTicker(meterEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				m.look()
			case <-end:
				return
			}
		}
	})
	return func() {
		close(end)
		running.Wait()
	}
}

func (m *meter) look() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.conn == nil {
		return
	}
	n := received(m.conn)
	if n > m.last {
		m.moved(int(n - m.last))
		m.last = n
	}
	if n-m.begin > maxAnswers {
		m.tooLong()
	}
}

// received is how many bytes the kernel has got for a connection; 0 if that is not known.
func received(conn net.Conn) (n int64) {
	for {
		outer, ok := conn.(interface{ NetConn() net.Conn }) // TLS
		if !ok {
			break
		}
		conn = outer.NetConn()
	}
	sys, ok := conn.(syscall.Conn)
	if !ok {
		return 0
	}
	raw, err := sys.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) {
		if info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			n = int64(info.Bytes_received)
		}
	})
	return n
}
