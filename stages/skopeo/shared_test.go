package skopeo

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"osbuild-containers/test/images"
	"osbuild-containers/test/inputs"
)

// TestNothingIsSharedWithTheInput has input and tree on one mount, where linking is possible: changes that a later stage makes to
// the tree must not affect the cache.
func TestNothingIsSharedWithTheInput(t *testing.T) {
	for _, kind := range []string{toDir, toOCI, toArchive, toStorage} {
		for _, input := range []string{"dir", "archive"} {
			a := inputs.New(t)
			if input == "dir" {
				a.Dir(t, "localhost/x", small(1))
			} else {
				a.Archive(t, "localhost/x", small(1))
			}
			a.Options = to(kind, "/x")
			succeed(t, a)
			before := inodes(t, a.Path())
			for inode, name := range inodes(t, a.Tree) {
				if from, ok := before[inode]; ok {
					t.Errorf("%s from %s: %s is the input's %s", kind, input, name, from)
				}
			}
		}
	}
}

// inodes returns the files below a directory by device and inode.
func inodes(t *testing.T, dir string) map[[2]uint64]string {
	t.Helper()
	all := map[[2]uint64]string{}
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		var st syscall.Stat_t
		if err := syscall.Lstat(path, &st); err != nil {
			return err
		}
		if st.Nlink > 1 {
			t.Errorf("%s has %d names", path, st.Nlink)
		}
		all[[2]uint64{st.Dev, st.Ino}] = path
		return nil
	}))
	return all
}

// TestClonesAreVerified uses a file system that can clone.
func TestClonesAreVerified(t *testing.T) {
	dir := cloning(t)
	for _, kind := range []string{toDir, toOCI} {
		for _, damaged := range []bool{false, true} {
			img := small(1)
			place := filepath.Join(dir, fmt.Sprint(kind, damaged))
			must(t, os.Mkdir(place, 0o755))
			a := inputs.In(t, place)
			in := a.Dir(t, "localhost/x", img)
			if damaged {
				flip(t, filepath.Join(in, img.Layers[0].Digest.Encoded()))
			}
			a.Options = to(kind, "/x")
			code, log := call(t, a)
			switch {
			case damaged && (code != 1 || !strings.Contains(log, "blob has digest sha256:")):
				t.Errorf("%s: exit status %d: %s", kind, code, log)
			case !damaged && (code != 0 || strings.Count(log, " cloned, ") != len(img.Layers)):
				t.Errorf("%s: exit status %d, not cloned: %s", kind, code, log)
			}
		}
	}
}

// cloning returns a directory on a file system that can clone.
func cloning(t *testing.T) string {
	t.Helper()
	dir, disk := t.TempDir(), filepath.Join(t.TempDir(), "disk")
	must(t, os.WriteFile(disk, nil, 0o600))
	must(t, os.Truncate(disk, 120<<20))
	for _, command := range [][]string{{"mkfs.btrfs", "-q", "--mixed", disk}, {"mount", "-o", "loop", disk, dir}} {
		if out, err := exec.CommandContext(t.Context(), command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Skipf("no file system that can clone: %v: %s", err, out)
		}
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}

// TestALineForEachLayer checks that the line has number, bytes and seconds.
func TestALineForEachLayer(t *testing.T) {
	for kind, how := range map[string]string{toDir: " (copied|cloned)", toOCI: " (copied|cloned)", toArchive: " copied", toStorage: ""} {
		img := small(1)
		a := inputs.New(t)
		a.Dir(t, "localhost/x", img)
		a.Options = to(kind, "/x")
		code, log := call(t, a)
		for i, l := range img.Layers {
			want := fmt.Sprintf(`(?m)^image "localhost/x": layer %d/3 sha256:%s…: [0-9.]+ k?B%s, \d+\.\d s$`, i+1, l.Digest.Encoded()[:8], how)
			if code != 0 || !regexp.MustCompile(want).MatchString(log) {
				t.Errorf("%s: exit status %d, no line %s in\n%s", kind, code, want, log)
			}
		}
	}
}

// TestListsAreForStoragesOnly checks that lists do not change images written as files.
func TestListsAreForStoragesOnly(t *testing.T) {
	for _, kind := range []string{toDir, toOCI, toArchive} {
		var first string
		for _, with := range []bool{false, true} {
			img := small(1, images.Arch("riscv64"))
			a := inputs.New(t)
			a.Dir(t, "localhost/x", img)
			if with {
				a.List(t, images.NewList(images.Of(small(2), img)))
			}
			a.Options, a.Epoch = to(kind, "/x"), epoch
			succeed(t, a)
			got := listing(t, a.Tree)
			if !with {
				first = got
			}
			if got != first {
				t.Errorf("%s: without a list\n%s\nand with one\n%s", kind, first, got)
			}
		}
	}
}
