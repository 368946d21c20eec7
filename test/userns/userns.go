// Package userns runs tests a second time without the privileges of root of the host: in user namespaces, and as an ordinary
// user.
package userns

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const second = "TEST_IN_USER_NAMESPACE"

// Second reports whether this process is one that this package has started.
func Second() bool { return os.Getenv(second) != "" }

// OneID returns the credentials of root of a user namespace that maps only this process's user and group, like unshare -Ur. It has
// no mount namespace, so nothing can be mounted or unmounted.
func OneID() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
}

// ManyIDs returns the credentials of root of a user namespace with 65,536 further ids, like osbuild's. Only root can create it
// without newuidmap, so the test is skipped for other users.
func ManyIDs(t *testing.T) *syscall.SysProcAttr {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can map ids of others")
	}
	ids := func(own int) []syscall.SysProcIDMap {
		return []syscall.SysProcIDMap{{HostID: own, Size: 1}, {ContainerID: 1, HostID: 1_000_000, Size: 65536}}
	}
	return &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS, UidMappings: ids(os.Getuid()), GidMappings: ids(os.Getgid()),
		GidMappingsEnableSetgroups: true,
	}
}

// Drop takes capabilities from root, as containers do, in all processes that the test starts from its own goroutine. The
// test is skipped for others.
func Drop(t *testing.T, capabilities ...uintptr) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	runtime.LockOSThread() // never unlocked: the thread ends with the test
	for _, c := range capabilities {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil {
			t.Fatal(err)
		}
	}
}

// User is the user and group that Ordinary uses if this process is root's.
const User = 4711

// Ordinary returns the credentials of an ordinary user: this process's own, unless it is root.
func Ordinary() *syscall.SysProcAttr {
	if os.Geteuid() != 0 {
		return &syscall.SysProcAttr{}
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: User, Gid: User}}
}

// Inside runs the test again with the rights of attr, and with env in its environment. It reports whether this is that run;
// the caller returns at once if it is not.
func Inside(t *testing.T, attr *syscall.SysProcAttr, env ...string) bool {
	t.Helper()
	if Second() {
		return true
	}
	check(t, "--- PASS: "+t.Name(), attr, env, "-test.run=^"+t.Name()+"$")
	return false
}

// All runs the tests of this executable again, but those that match skip, in a user namespace with further ids. There it
// does nothing.
func All(t *testing.T, skip string) {
	t.Helper()
	if Second() {
		t.Skip("this is the second time")
	}
	check(t, "--- PASS", ManyIDs(t), nil, "-test.skip="+skip)
}

func check(t *testing.T, want string, attr *syscall.SysProcAttr, env []string, args ...string) {
	t.Helper()
	if out, err := Run(t, attr, env, append(args, "-test.v")...); err != nil || !strings.Contains(string(out), want) {
		t.Errorf("%v\n%s", err, out)
	}
}

// Run runs this executable with the rights of attr, in a directory for temporary files that it may write to, and returns
// what it wrote. The test is skipped where the kernel allows no such process.
func Run(t *testing.T, attr *syscall.SysProcAttr, env []string, args ...string) ([]byte, error) {
	t.Helper()
	top := t.TempDir()
	for _, dir := range []string{top, filepath.Dir(top)} {
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", args...)
	cmd.Env = append(append(os.Environ(), second+"=1", "TMPDIR="+top, "GOTMPDIR="+top), env...)
	cmd.SysProcAttr = attr
	out, err := cmd.CombinedOutput()
	if err != nil && len(out) == 0 {
		t.Skipf("no such process can be started: %v", err)
	}
	return out, err
}
