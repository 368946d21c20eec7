package storage

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"osbuild-containers/internal/hint"
)

// TestUnreadable pairs errors of reading a storage's file with hints.
func TestUnreadable(t *testing.T) {
	defer func() { geteuid = unix.Geteuid }()
	const others, damage = "podman unshare COMMAND", "podman system check"
	for _, c := range []struct {
		err  error
		euid int
		want string
	}{
		{unix.EACCES, 1000, others},
		{unix.EACCES, 0, damage},
		{unix.EIO, 1000, damage},
	} {
		geteuid = func() int { return c.euid }
		err := unreadable(fmt.Errorf("read layer: %w", &fs.PathError{Op: "open", Path: "/f", Err: c.err}))
		if got := hint.Of(err).Field; !strings.Contains(got, c.want) || !IsStorage(err) {
			t.Errorf("%v as user %d: hint %q, want one with %q", err, c.euid, got, c.want)
		}
	}
	geteuid = func() int { return 1000 }
	none := &noStoreError{"/store", "permission denied", unix.EACCES}
	if got := hint.Of(none).Field; !strings.Contains(got, others) {
		t.Errorf("%v: hint %q, want one with %q", none, got, others)
	}
}
