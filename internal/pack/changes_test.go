package pack

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) {
	f(p)
	return len(p), nil
}

// tick waits until the file system's clock advances, so that a change is visible.
func tick(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	changed := func() unix.Timespec {
		var st unix.Stat_t
		must(t, os.Chmod(dir, 0o700))
		must(t, unix.Stat(dir, &st))
		return st.Ctim
	}
	for first := changed(); changed() == first; {
		runtime.Gosched()
	}
}

func TestATreeThatChangesIsRefused(t *testing.T) {
	for _, test := range []struct {
		name string
		when string // the entry whose header is written
		do   func(dir string) error
		want string
	}{
		{"grown", "d/f", func(d string) error { return os.Truncate(d+"/d/f", 3) }, "d/f"},
		{"shortened", "a", func(d string) error { return os.Truncate(d+"/a", 300<<10) }, "a"},
		{"directory filled", "d/f", func(d string) error { return os.WriteFile(d+"/d/g", nil, 0o600) }, "d/"},
		{"file gone", "d/f", func(d string) error { return os.Remove(d + "/d/f") }, "d/f"},
		{"written, with the old time", "a", func(d string) error {
			return errors.Join(os.WriteFile(d+"/a", make([]byte, 2<<20), 0o600), os.Chtimes(d+"/a", epoch, epoch))
		}, "a"},
		{"file becomes a fifo", "d/", func(d string) error {
			return errors.Join(os.Remove(d+"/d/f"), unix.Mkfifo(d+"/d/f", 0o600))
		}, "d/"},
		{"mode of the top", "a", func(d string) error { return os.Chmod(d, 0o711) }, "./"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir+"/a", strings.Repeat("x", 2<<20))
			write(t, dir+"/d/f", "f")
			setTime(t, dir+"/d", epoch) // so that it has no PAX header
			tick(t)
			tw := treeWriter{ctx: context.Background(), note: t.Logf}
			done := false
			err := tw.write(writerFunc(func(p []byte) {
				if !done && bytes.HasPrefix(p, []byte(test.when+"\x00")) {
					done = true
					must(t, test.do(dir))
				}
			}), dir)
			if want := test.want + ": changed while it was read"; err == nil || err.Error() != want || !errors.Is(err, errChanged) {
				t.Errorf("got %v, want %s", err, want)
			}
		})
	}
}

func TestUnreadableFileIsNamed(t *testing.T) {
	tw := treeWriter{ctx: context.Background(), note: t.Logf}
	err := tw.write(io.Discard, "/no/such/tree")
	if want := `open tree "/no/such/tree": no such file or directory`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if os.Geteuid() == 0 {
		return // root reads everything
	}
	dir := t.TempDir()
	write(t, dir+"/d/f", "f")
	must(t, os.Chmod(dir+"/d/f", 0))
	err = tw.write(io.Discard, dir)
	if want := "d/f: permission denied"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
