package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"osbuild-containers/test/registry"
)

// stalled implements the command stalled.
func stalled(t *testing.T, ts *testscript.TestScript, reg *registry.Registry, args []string) {
	f := reg.Faults(t)
	f.On(registry.Blob(args[0]), registry.Stall(1000))
	ts.Setenv("STALLED", f.Addr)
}

// interrupt implements the command interrupt.
func interrupt(ts *testscript.TestScript, _ bool, args []string) {
	sig := unix.SignalNum(args[0])
	want, err := strconv.Atoi(args[1])
	ts.Check(err)
	path, err := exec.LookPath(args[3])
	ts.Check(err)
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(path, args[4:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = ts.MkAbs("."), &stdout, &stderr
	for _, name := range []string{"HOME", "XDG_RUNTIME_DIR", "PATH", "CONTAINERS_REGISTRIES_CONF"} {
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	before := partial(ts, args[2])
	ts.Check(cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for partial(ts, args[2]) == before {
		select {
		case err := <-ended:
			ts.Fatalf("it ended by itself: %v\n%s", err, &stderr)
		case <-time.After(5 * time.Millisecond):
		}
	}
	ts.Check(cmd.Process.Signal(sig))
	got := 0
	if err := <-ended; err != nil {
		exit, ok := errors.AsType[*exec.ExitError](err)
		if !ok {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	ts.Logf("[stdout]\n%s[stderr]\n%s", &stdout, &stderr)
	ts.Check(os.WriteFile(ts.MkAbs("interrupted.err"), stderr.Bytes(), 0o644))
	ts.Check(os.WriteFile(ts.MkAbs("interrupted.out"), stdout.Bytes(), 0o644))
	if got != want {
		ts.Fatalf("status %d, want %d", got, want)
	}
}

// partial returns how much of an incomplete blob the caches of a script contain, in bytes.
func partial(ts *testscript.TestScript, digest string) (size int64) {
	_, hex, _ := strings.Cut(digest, ":")
	found, _ := filepath.Glob(ts.MkAbs(filepath.Join("*", "org.osbuild.containers", ".pool", "partial", hex)))
	for _, f := range found {
		if fi, err := os.Stat(f); err == nil {
			size += fi.Size()
		}
	}
	return size
}
