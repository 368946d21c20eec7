// Package userns runs tests in user namespaces.
package userns

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

const inside = "TEST_IN_USER_NAMESPACE"

// Inside runs the test again as root of a user namespace that maps only the user and the group of this process, and
// reports whether this is that run. The caller returns at once if it is not.
func Inside(t *testing.T, env ...string) bool {
	t.Helper()
	if os.Getenv(inside) != "" {
		return true
	}
	again := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	again.Env = append(append(os.Environ(), inside+"=1"), env...)
	again.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	out, err := again.CombinedOutput()
	if err != nil && len(out) == 0 {
		t.Skipf("no user namespace can be made: %v", err)
	}
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}
