// Package calls traces the system calls of a process started by a test. It can make any of them fail with any error, or kill the
// process just before one.
//
//	func TestMain(m *testing.M) { calls.Main(); os.Exit(m.Run()) }
//
//	n := 0
//	w := calls.Start(t, cmd, func(c calls.Call) calls.Verdict {
//		if n++; n == 7 {
//			return calls.Kill
//		}
//		return calls.Continue
//	}, calls.Changing...)
//	err := w.Wait()
//
// A test can thus check every state that a crash may leave: kill at the first call, at the second, and so on until the process
// exits by itself.
//
// It uses a seccomp filter with user notification: the test executable is started again, installs the filter, and executes the
// command. It needs neither root nor other tools.
package calls

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Call is a system call that a process is about to make.
type Call struct {
	Name string
	Path string // path argument, old name of a rename or link, or file of a descriptor
	New  string // new name of a rename or link
	Args [6]uint64
}

// String formats the call for a log.
func (c Call) String() string { return strings.TrimSpace(c.Name + " " + c.Path + " " + c.New) }

// Below reports whether the call is about a path in dir.
func (c Call) Below(dir string) bool {
	return strings.HasPrefix(c.Path, dir+"/") || strings.HasPrefix(c.New, dir+"/")
}

// Verdict is what to do with a call: one of these, or an error to fail it with.
type Verdict = syscall.Errno

// Verdicts.
const (
	Continue Verdict = 0
	Kill     Verdict = 1 << 16
)

// kind says which arguments of a call are paths.
type kind struct {
	name  string
	nr    uint32
	paths []int // indexes of path arguments, each after its directory descriptor
	fd    bool  // the first argument is a descriptor
}

var kinds = []kind{
	{name: "openat", nr: unix.SYS_OPENAT, paths: []int{1}},
	{name: "mkdirat", nr: unix.SYS_MKDIRAT, paths: []int{1}},
	{name: "unlinkat", nr: unix.SYS_UNLINKAT, paths: []int{1}},
	{name: "linkat", nr: unix.SYS_LINKAT, paths: []int{1, 3}},
	{name: "renameat", nr: unix.SYS_RENAMEAT, paths: []int{1, 3}},
	{name: "renameat2", nr: unix.SYS_RENAMEAT2, paths: []int{1, 3}},
	{name: "fchmodat", nr: unix.SYS_FCHMODAT, paths: []int{1}},
	{name: "fchmod", nr: unix.SYS_FCHMOD, fd: true},
	{name: "ftruncate", nr: unix.SYS_FTRUNCATE, fd: true},
	{name: "fsync", nr: unix.SYS_FSYNC, fd: true},
	{name: "flock", nr: unix.SYS_FLOCK, fd: true},
	{name: "write", nr: unix.SYS_WRITE, fd: true},
	{name: "pwrite64", nr: unix.SYS_PWRITE64, fd: true},
	{name: "read", nr: unix.SYS_READ, fd: true},
	{name: "ioctl", nr: unix.SYS_IOCTL, fd: true},
	{name: "setxattr", nr: unix.SYS_SETXATTR},
}

// Changing are the system calls that change names and files, or make changes durable.
var Changing = []string{
	"mkdirat", "unlinkat", "linkat", "renameat", "renameat2", "fchmodat", "fchmod", "ftruncate", "fsync", "write",
}

// Watched is a traced process.
type Watched struct {
	cmd    *exec.Cmd
	listen int
	ended  chan error
}

// Start starts the command. decide is called for each of the named calls, one at a time.
func Start(t testing.TB, cmd *exec.Cmd, decide func(Call) Verdict, names ...string) *Watched {
	t.Helper()
	listen, err := startShim(cmd, names)
	if errors.Is(err, errUnsupported) {
		t.Skip("system calls cannot be watched here: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	w := &Watched{cmd: cmd, listen: listen, ended: make(chan error, 1)}
	go func() { w.ended <- w.serve(decide) }()
	return w
}

// Wait is exec.Cmd.Wait.
func (w *Watched) Wait() error {
	err := w.cmd.Wait()
	if e := <-w.ended; e != nil {
		return e
	}
	return err
}

// serve answers calls until no process is left.
func (w *Watched) serve(decide func(Call) Verdict) error {
	defer unix.Close(w.listen)
	for {
		fds := []unix.PollFd{{Fd: int32(w.listen), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for a system call: %w", err)
		}
		switch {
		case fds[0].Revents&unix.POLLIN != 0:
			if err := w.answer(decide); err != nil {
				return err
			}
		case fds[0].Revents != 0: // hang-up
			return nil
		}
	}
}

func (w *Watched) answer(decide func(Call) Verdict) error {
	n, err := receive(w.listen)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINTR) { // the process is gone
		return nil
	}
	if err != nil {
		return fmt.Errorf("receive a system call: %w", err)
	}
	v := decide(n.call())
	if v == Kill {
		return w.cmd.Process.Kill()
	}
	if err := n.reply(w.listen, v); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("answer a system call: %w", err)
	}
	return nil
}

// call reads the call's arguments from the process's memory.
func (n *notice) call() Call {
	c := Call{Args: n.args}
	proc := fmt.Sprintf("/proc/%d", n.pid)
	for _, k := range kinds {
		if k.nr != n.nr {
			continue
		}
		c.Name = k.name
		if k.fd {
			c.Path, _ = os.Readlink(fmt.Sprintf("%s/fd/%d", proc, int32(n.args[0])))
		}
		for i, arg := range k.paths {
			path := readString(proc, n.args[arg])
			if fd, ok := strings.CutPrefix(path, "/proc/self/fd/"); ok {
				path, _ = os.Readlink(proc + "/fd/" + fd)
			}
			if dir := int32(n.args[arg-1]); !filepath.IsAbs(path) {
				at := proc + "/cwd"
				if dir != unix.AT_FDCWD {
					at = fmt.Sprintf("%s/fd/%d", proc, dir)
				}
				at, _ = os.Readlink(at)
				path = filepath.Join(at, path)
			}
			if i == 0 {
				c.Path = path
			} else {
				c.New = path
			}
		}
	}
	return c
}

// readString reads a C string.
func readString(proc string, addr uint64) string {
	mem, err := os.Open(proc + "/mem")
	if err != nil {
		return ""
	}
	defer mem.Close()
	buf := make([]byte, 4096)
	n, _ := mem.ReadAt(buf, int64(addr))
	s, _, _ := strings.Cut(string(buf[:n]), "\x00")
	return s
}

// notice is struct seccomp_notif.
type notice struct {
	id   uint64
	pid  uint32
	nr   uint32
	args [6]uint64
}

func (n *notice) decode(b []byte) {
	n.id = binary.NativeEndian.Uint64(b)
	n.pid = binary.NativeEndian.Uint32(b[8:])
	n.nr = binary.NativeEndian.Uint32(b[16:])
	for i := range n.args {
		n.args[i] = binary.NativeEndian.Uint64(b[32+8*i:])
	}
}
