package main

import (
	"bytes"
	"errors"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"osbuild-containers/test/registry"
)

// hanging are the registries of the command stalled, by their address.
var hanging sync.Map

// stalled is the command of that name.
func stalled(t *testing.T, ts *testscript.TestScript, reg *registry.Registry) {
	f := reg.Faults(t)
	f.On(registry.Get(`/blobs/`), registry.Stall(1000))
	hanging.Store(f.Addr, f)
	ts.Setenv("STALLED", f.Addr)
}

// interrupt is the command of that name.
func interrupt(ts *testscript.TestScript, _ bool, args []string) {
	sig := unix.SignalNum(args[0])
	want, err := strconv.Atoi(args[1])
	ts.Check(err)
	path, err := exec.LookPath(args[2])
	ts.Check(err)
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(path, args[3:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = ts.MkAbs("."), &stdout, &stderr
	cmd.Env = []string{"HOME=" + ts.Getenv("HOME"), "XDG_RUNTIME_DIR=" + ts.Getenv("XDG_RUNTIME_DIR"), "PATH=" + ts.Getenv("PATH"),
		"CONTAINERS_REGISTRIES_CONF=" + ts.Getenv("CONTAINERS_REGISTRIES_CONF")}
	ts.Check(cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	f, _ := hanging.Load(ts.Getenv("STALLED"))
	for f.(*registry.Faults).BytesSent(`/blobs/`) == 0 {
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
	if got != want {
		ts.Fatalf("status %d, want %d", got, want)
	}
}
