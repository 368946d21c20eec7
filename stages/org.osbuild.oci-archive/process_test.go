package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

// The executable runs where there is nothing but itself: no /etc, no /proc, no directory for
// temporary files, no environment.
func TestNothingOfTheBuildRootIsNeeded(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can change the root")
	}
	root := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(root, "stage"), ".")
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
	var log bytes.Buffer
	cmd := exec.Command("/stage")
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
