package scratch

import (
	"errors"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"osbuild-containers/internal/hint"
)

// A full disk is an error that names the directory.
func TestTemporaryFull(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	_, err = (&File{full, "/var/tmp"}).Write([]byte("x"))
	if temp, ok := errors.AsType[*FileError](err); !ok || !errors.Is(temp, unix.ENOSPC) {
		t.Fatalf("got %v", err)
	}
	const want = "write a temporary file in /var/tmp: no space left on device\nmake room there, or set TMPDIR"
	if hint.Text(err, hint.Fields) != want {
		t.Errorf("got %q, want %q", err, want)
	}
}
