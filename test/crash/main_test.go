package crash_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	"osbuild-containers/test/calls"
	"osbuild-containers/test/home"
	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

func TestMain(m *testing.M) {
	calls.Main()
	if path := os.Getenv(measureVariable); path != "" {
		os.Exit(measure(path))
	}
	os.Exit(runTests(m))
}

// shared is the registry used by all tests.
var shared struct {
	dir  string
	once sync.Once
	reg  *registry.Registry
	err  error
}

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "crash-test-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	shared.dir = dir
	defer func() {
		if shared.reg != nil {
			shared.reg.Close()
		}
	}()
	return m.Run()
}

// serve pushes images and lists to a new repository, and puts a proxy in front of it.
func serve(t testing.TB, entries ...images.Entry) (f *registry.Faults, name string) {
	t.Helper()
	shared.once.Do(func() { shared.reg, shared.err = registry.Run(shared.dir) })
	must(t, shared.err)
	repo := regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(strings.ToLower(t.Name()), "-") + "/name"
	for _, e := range entries {
		must(t, images.Push(e, shared.reg.URL, repo))
	}
	f = shared.reg.Faults(t)
	return f, f.Addr + "/" + repo
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("mounts need root")
	}
}

// executable returns the path of a source in build/libdir.
func executable(t testing.TB, source string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "..", "build", "libdir", "sources", source))
	must(t, err)
	if _, err := os.Stat(path); err != nil {
		t.Fatal("the executables are not there: run make first")
	}
	return path
}

// environ returns an environment isolated from the machine's configuration.
func environ(t testing.TB) []string {
	t.Helper()
	dir := t.TempDir()
	must(t, home.Setup(dir, home.AcceptAnything))
	return home.Environ(dir)
}

// measureVariable names the file for a source's peak memory, in a process between the test and the source: a process starts with
// the peak memory of its parent, and the test itself is too large.
const measureVariable = "CRASH_TEST_MEASURE"

func measure(path string) int {
	cmd := exec.Command(os.Args[1], os.Args[2:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if err := os.WriteFile(path, fmt.Append(nil, usage.Maxrss), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
