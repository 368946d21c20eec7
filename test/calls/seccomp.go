package calls

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// shimVariable holds, in the process that installs the filter, the descriptor of the socket for the listener and the call numbers.
const shimVariable = "WATCHED_CALLS"

// errUnsupported is returned if the kernel or a sandbox does not support it.
var errUnsupported = errors.New("no seccomp notifications")

// startShim starts the command through this executable and returns the listener of its calls.
func startShim(cmd *exec.Cmd, names []string) (listen int, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(pair[0])
	theirs := os.NewFile(uintptr(pair[1]), "calls")
	exe, err := os.Executable()
	if err != nil {
		return -1, err
	}
	cmd.ExtraFiles = append(cmd.ExtraFiles, theirs)
	words := []string{strconv.Itoa(2 + len(cmd.ExtraFiles))}
	for _, k := range kinds {
		for _, n := range names {
			if n == k.name {
				words = append(words, strconv.Itoa(int(k.nr)))
			}
		}
	}
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	// With asynchronous preemption, a signal would interrupt and repeat calls.
	cmd.Env = append(cmd.Env, shimVariable+"="+strings.Join(words, " "), "GODEBUG=asyncpreemptoff=1")
	cmd.Args = append([]string{cmd.Args[0], cmd.Path}, cmd.Args[1:]...)
	cmd.Path = exe
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		return -1, err
	}
	listen, err = receiveListener(pair[0])
	if err != nil {
		err = errors.Join(err, cmd.Process.Kill())
		_ = cmd.Wait()
	}
	return listen, err
}

func receiveListener(sock int) (int, error) {
	text, rights := make([]byte, 1024), make([]byte, unix.CmsgSpace(4))
	n, rn, _, _, err := unix.Recvmsg(sock, text, rights, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return -1, err
	}
	if rn == 0 {
		return -1, fmt.Errorf("%w: %s", errUnsupported, text[:n])
	}
	msgs, err := unix.ParseSocketControlMessage(rights[:rn])
	if err != nil {
		return -1, err
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil {
		return -1, err
	}
	return fds[0], nil
}

// Main executes the command passed to Start if this process was started by it. It must come first in TestMain.
func Main() {
	words := strings.Fields(os.Getenv(shimVariable))
	if len(words) == 0 {
		return
	}
	runtime.LockOSThread()
	err := becomeCommand(words)
	fmt.Fprintln(os.Stderr, "watch system calls:", err)
	os.Exit(125)
}

func becomeCommand(words []string) error {
	sock, err := strconv.Atoi(words[0])
	if err != nil {
		return err
	}
	var nrs []uint32
	for _, w := range words[1:] {
		nr, err := strconv.ParseUint(w, 10, 32)
		if err != nil {
			return err
		}
		nrs = append(nrs, uint32(nr))
	}
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(v, shimVariable+"=") {
			env = append(env, v)
		}
	}
	// Until exec no traced call may be made, since nothing answers yet.
	argv0, argv := os.Args[1], append([]string{os.Args[0]}, os.Args[2:]...)
	listen, err := install(nrs)
	if err != nil {
		return errors.Join(err, unix.Sendmsg(sock, []byte(err.Error()), nil, nil, 0))
	}
	if err := unix.Sendmsg(sock, []byte("ok"), unix.UnixRights(listen), nil, 0); err != nil {
		return err
	}
	unix.CloseOnExec(sock)
	return syscall.Exec(argv0, argv, env)
}

// install installs a filter that notifies about these calls and allows all others.
func install(nrs []uint32) (listen int, err error) {
	prog := []unix.SockFilter{{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}} // system call number
	for _, nr := range nrs {
		prog = append(prog,
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: nr},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_USER_NOTIF})
	}
	prog = append(prog, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW})
	fprog := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return -1, err
	}
	flags := uintptr(unix.SECCOMP_FILTER_FLAG_NEW_LISTENER | unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV)
	for {
		fd, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&fprog)))
		switch {
		case e == 0:
			runtime.KeepAlive(prog)
			return int(fd), nil
		case e == unix.EINVAL && flags&unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV != 0: // before Linux 5.19
			flags = unix.SECCOMP_FILTER_FLAG_NEW_LISTENER
		default:
			return -1, e
		}
	}
}

func receive(listen int) (*notice, error) {
	var buf [80]byte
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(listen), unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&buf))); e != 0 {
		return nil, e
	}
	n := new(notice)
	n.decode(buf[:])
	return n, nil
}

// reply lets the call proceed or fail.
func (n *notice) reply(listen int, v Verdict) error {
	var buf [24]byte // struct seccomp_notif_resp
	binary.NativeEndian.PutUint64(buf[:], n.id)
	if v == Continue {
		binary.NativeEndian.PutUint32(buf[20:], unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE)
	} else {
		binary.NativeEndian.PutUint32(buf[16:], uint32(-int32(v)))
	}
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, uintptr(listen), unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&buf))); e != 0 {
		return e
	}
	return nil
}
