package deploy

import (
	"archive/tar"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// inNamespace is set in the environment of a test that runs again in a user namespace, as its root.
const inNamespace = "DEPLOY_TEST_IN_USER_NAMESPACE"

// TestInUserNamespace shows what is left out where the kernel gives root of a user namespace no right to it: each kind with
// one warning, and everything else is deployed.
func TestInUserNamespace(t *testing.T) {
	if os.Getenv(inNamespace) == "" {
		again := exec.Command("/proc/self/exe", "-test.run=^TestInUserNamespace$", "-test.v")
		again.Env = append(os.Environ(), inNamespace+"=1")
		ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		groups := []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
		again.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: ids, GidMappings: groups}
		out, err := again.CombinedOutput()
		if err != nil && len(out) == 0 {
			t.Skipf("no user namespace can be made: %v", err)
		}
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
	device := func(name string) item {
		return file(name).with(func(h *tar.Header) { h.Typeflag, h.Devmajor, h.Devminor = tar.TypeChar, 5, 1 })
	}
	p := newPlace(t)
	log, err := p.deploy(t, Options{}, layerOf(
		t, directory("dev"), device("dev/console"), device("dev/tty"), hardlink("dev/again", "dev/console"), device("dev/gone"),
		xattr(file("a", "1"), "trusted.x", "1"), xattr(file("b", "2"), "security.ima", "1"), xattr(file("ping", "3"), "security.capability", capNetRaw),
	), layerOf(t, file("dev/.wh.gone"), file("c", "4")))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := p.show(t), "a=1 b=2 c=4 dev/ ping=3"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for _, want := range []string{
		`warning: device nodes cannot be made in a user namespace: 2 are not made, the first is "dev/console"`,
		`warning: only root of the host can set attributes of trusted and security: 2 are not set, the first is trusted.x of "a"`,
	} {
		if strings.Count(log, want) != 1 {
			t.Errorf("want %q once in\n%s", want, log)
		}
	}
	_, err = newPlace(t).deploy(t, Options{}, layerOf(t, file("f").with(func(h *tar.Header) { h.Uid = 1000 })))
	if err == nil || !strings.Contains(err.Error(), "set owner 1000:0: invalid argument\nthe user namespace has no such id: ") {
		t.Errorf("an owner that is not mapped: %v", err)
	}
}
