package registry

import (
	"debug/buildinfo"
	_ "embed" // for VERSION
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// module is the program that is run; VERSION, which the Makefile reads too, pins it.
const module = "github.com/distribution/distribution/v3/cmd/registry"

//go:embed VERSION
var version string

// Binary returns the path of the registry executable in the repository's
// build/tools, after building it there if it is missing or of another version.
var Binary = sync.OnceValues(func() (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	tools := filepath.Join(root, "build", "tools")
	path := filepath.Join(tools, "registry")
	if current(path) {
		return path, nil
	}
	if err := os.MkdirAll(tools, 0o777); err != nil {
		return "", err
	}
	unlock, err := lock(filepath.Join(tools, ".registry.lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	if current(path) { // another test process was faster
		return path, nil
	}
	return path, build(tools)
})

func build(tools string) error {
	cmd := exec.Command("go", "install", "-trimpath", module+"@"+strings.TrimSpace(version))
	cmd.Dir = tools
	cmd.Env = append(os.Environ(), "GOBIN="+tools, "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", module, err, out)
	}
	return nil
}

// current tells whether the executable is there and of the pinned version.
func current(path string) bool {
	info, err := buildinfo.ReadFile(path)
	return err == nil && info.Main.Version == strings.TrimSpace(version)
}

func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return func() { _ = f.Close() }, nil
}

// moduleRoot is the directory with go.mod above the working directory, which for a
// test is the directory of its package.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("no go.mod above the working directory: run the tests inside the repository")
		}
		dir = filepath.Dir(dir)
	}
}
