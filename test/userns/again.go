package userns

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// Second reports whether this process runs in a user namespace of this package.
func Second() bool { return os.Getenv(inside) != "" }

// First is the first id outside of the namespace of those that it has besides the user's.
const First = 1_000_000

// Command makes cmd run as root of a user namespace that has 65,536 further ids. Only root can do that without the help
// of newuidmap, so tests of other users are skipped.
func Command(t *testing.T, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can map ids of others")
	}
	ids := func(own int) []syscall.SysProcIDMap {
		return []syscall.SysProcIDMap{{HostID: own, Size: 1}, {ContainerID: 1, HostID: First, Size: 65536}}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS, UidMappings: ids(os.Getuid()), GidMappings: ids(os.Getgid()),
		GidMappingsEnableSetgroups: true,
	}
	return cmd
}

// Again runs the tests of this executable that match run, and not skip, in a user namespace. There it does nothing.
func Again(t *testing.T, run, skip string) {
	t.Helper()
	if Second() {
		t.Skip("this is the second time")
	}
	cmd := Command(t, exec.Command("/proc/self/exe", "-test.run="+run, "-test.skip="+skip, "-test.v"))
	out, err := Run(t, cmd)
	if err != nil || !strings.Contains(string(out), "--- PASS") {
		t.Errorf("%v\n%s", err, out)
	}
}

// Run runs a process that Command has prepared and returns what it wrote. The test is skipped where the kernel allows no
// user namespace.
func Run(t *testing.T, cmd *exec.Cmd) ([]byte, error) {
	t.Helper()
	cmd.Env = append(os.Environ(), inside+"=1", "TMPDIR="+t.TempDir())
	out, err := cmd.CombinedOutput()
	if err != nil && len(out) == 0 {
		t.Skipf("no user namespace can be made: %v", err)
	}
	return out, err
}
