package ociarchive

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The executable needs only itself: no /etc, /proc, temporary directory or environment. Its input is on a read-only file system.
func TestNothingOfTheBuildRootIsNeeded(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can change the root")
	}
	root := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(root, Stage.Name), "../all")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, dir := range []string{"out", "in"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "in/file"), []byte("content"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("file", filepath.Join(root, "in/link")); err != nil {
		t.Fatal(err)
	}
	in := filepath.Join(root, "in")
	if err := unix.Mount(in, in, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(in, unix.MNT_DETACH) })
	var fs unix.Statfs_t // a user namespace must keep its flags
	if err := unix.Statfs(in, &fs); err != nil {
		t.Fatal(err)
	}
	keep := uintptr(fs.Flags) & (unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC)
	if err := unix.Mount("", in, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|keep, ""); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd := exec.Command("/" + Stage.Name)
	cmd.Dir, cmd.Env, cmd.Stderr = "/", []string{}, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
	cmd.Stdin = bytes.NewReader([]byte(`{"tree": "/out", "inputs": {"base": {"path": "/in"}},
		"options": {"architecture": "amd64", "filename": "f"}, "meta": {"source-epoch": 5}}`))
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v: %s", err, log.String())
	}
	if _, manifest, _ := read(t, filepath.Join(root, "out/f")); len(manifest.Layers) != 1 {
		t.Errorf("the image has the layers %v", manifest.Layers)
	}
}
