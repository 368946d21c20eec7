package tree

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// The processor is kept only where writing does not wait; what is written, and what is said of a full disk, is the same.
func TestWriteKeepsTheProcessorOfThePageCacheOnly(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can mount")
	}
	content := make([]byte, 300_000)
	rnd := rand.NewChaCha8([32]byte{1})
	_, _ = rnd.Read(content)
	for _, c := range []struct {
		name  string
		flags uintptr
		want  bool
	}{{"in memory", 0, true}, {"sync", unix.MS_SYNCHRONOUS, false}} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := unix.Mount("none", dir, "tmpfs", c.flags, "size=512k"); err != nil {
				t.Skip("no mounts here:", err)
			}
			t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
			r, err := Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if r.buffered != c.want {
				t.Errorf("buffered is %v, want %v", r.buffered, c.want)
			}
			sub, err := r.Sub("sub")
			if err != nil {
				t.Fatal(err)
			}
			defer sub.Close()
			if sub.buffered != c.want {
				t.Errorf("buffered is %v in a directory, want %v", sub.buffered, c.want)
			}
			f, err := r.Create("f", false, plain)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := f.Write(content); n != len(content) || err != nil {
				t.Errorf("%d bytes written, error %v", n, err)
			}
			n, err := f.Write(content)
			if !errors.Is(err, unix.ENOSPC) || n == 0 || n == len(content) {
				t.Errorf("%d bytes written to a full disk, error %v", n, err)
			}
			if err := f.Close(); err != nil {
				t.Fatal(err)
			}
			want := append(bytes.Clone(content), content[:n]...)
			if got, err := os.ReadFile(filepath.Join(dir, "f")); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%d bytes in the file, want %d, error %v", len(got), len(want), err)
			}
		})
	}
	proc, err := unix.Open("/proc", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(proc)
	if buffered(proc) {
		t.Error("/proc is not a page cache")
	}
}
