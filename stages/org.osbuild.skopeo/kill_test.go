package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"osbuild-containers/test/images"
	"osbuild-containers/test/inputs"
)

// TestKilledInTheMiddle kills the stage while it unpacks, looks for what it leaves
// mounted, and lets another one finish the work in the same tree.
func TestKilledInTheMiddle(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a store with the overlay driver can be written by root only")
	}
	exe := filepath.Join(t.TempDir(), "stage")
	build := exec.Command("go", "build", "-tags", "containers_image_openpgp exclude_graphdriver_btrfs exclude_graphdriver_zfs containers_image_docker_daemon_stub", "-o", exe, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	a := inputs.New(t)
	a.Dir(t, "localhost/x:v1", images.New(images.Layers(4, 20<<20)))
	a.Options, a.Epoch = storage("overlay"), epoch
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		cmd := exec.Command(exe)
		cmd.Stdin = bytes.NewReader(a.JSON(t))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		staging := filepath.Join(rootOf(a), "overlay/staging/*/dir/*")
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
			if found, _ := filepath.Glob(staging); len(found) > 0 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("nothing is unpacked")
			}
		}
		_ = cmd.Process.Signal(sig)
		err := cmd.Wait()
		if cmd.ProcessState.Success() {
			t.Fatalf("%s: it was done before", sig)
		}
		mounts, e := os.ReadFile("/proc/self/mountinfo")
		if e != nil || strings.Contains(string(mounts), a.Tree) {
			t.Errorf("%s: %v: something is mounted in the tree: %v", sig, err, e)
		}
	}
	succeed(t, a)
	if got := records(t, rootOf(a), "overlay"); got["localhost/x:v1"].ID == "" {
		t.Errorf("got %v", got)
	}
	if left, _ := filepath.Glob(filepath.Join(rootOf(a), "overlay/staging/*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
