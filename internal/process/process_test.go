package process_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"osbuild-containers/internal/process"
)

func TestReadEndsWithItsContext(t *testing.T) {
	never, w := io.Pipe()
	defer w.Close()
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if _, err := process.Read(ctx, never); !errors.Is(err, why) {
		t.Errorf("error is %v", err)
	}
	if raw, err := process.Read(t.Context(), strings.NewReader("{}")); string(raw) != "{}" || err != nil {
		t.Errorf("read %q, %v", raw, err)
	}
}

func TestStatusOfASignal(t *testing.T) {
	for sig, want := range map[os.Signal]int{syscall.SIGINT: 130, syscall.SIGTERM: 143, nil: process.Failed} {
		if got := process.Signalled(sig); got != want {
			t.Errorf("%v: %d, want %d", sig, got, want)
		}
	}
}

// A log that is not a terminal gets lines, whatever Env says.
func TestLog(t *testing.T) {
	for _, terminal := range []bool{false, true} {
		var log bytes.Buffer
		rep := process.Env{Stderr: &log, StderrIsTerminal: terminal}.Log()
		rep.Note("a line")
		rep.Close()
		if log.String() != "a line\n" {
			t.Errorf("logged %q", log.String())
		}
	}
}

func TestVersionText(t *testing.T) {
	defer func(v, c, d string) { process.Version, process.Commit, process.Date = v, c, d }(process.Version, process.Commit, process.Date)
	for _, test := range []struct{ version, commit, date, want string }{
		{"1.0.0", "2d12d58", "2026-11-26", "1.0.0 (2d12d58, 2026-11-26)"},
		{"1.0.0-3-g2d12d58-dirty", "2d12d58", "2026-11-26", "1.0.0-3-g2d12d58-dirty (2d12d58, 2026-11-26)"},
		{"2d12d58", "2d12d58", "2026-11-26", "2d12d58 (2026-11-26)"},
		{"1.0.0", "", "", "1.0.0"},
	} {
		process.Version, process.Commit, process.Date = test.version, test.commit, test.date
		if got := process.VersionText(); got != test.want {
			t.Errorf("%q: got %q, want %q", test.version, got, test.want)
		}
	}
}
