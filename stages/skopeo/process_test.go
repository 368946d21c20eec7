package skopeo

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"osbuild-containers/test/images"
	"osbuild-containers/test/inputs"
	"osbuild-containers/test/store"
)

// TestAsAProcess runs the installed executable.
func TestAsAProcess(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount and to change the root")
	}
	exe := filepath.Join(t.TempDir(), Stage.Name)
	build := exec.Command("go", "build", "-tags", "containers_image_openpgp exclude_graphdriver_btrfs exclude_graphdriver_zfs containers_image_docker_daemon_stub", "-o", exe, "../all")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Run("killed", func(t *testing.T) { killed(t, exe) })
	t.Run("on another mount", func(t *testing.T) { onAnotherMount(t, exe) })
	t.Run("without a system", func(t *testing.T) { withoutASystem(t, exe) })
	t.Run("with any umask", func(t *testing.T) { withAnyUmask(t, exe) })
}

// killed kills the stage while it unpacks, checks that nothing stays mounted or locked, and completes the work with another
// process.
func killed(t *testing.T, exe string) {
	store.NeedOverlay(t, t.TempDir())
	a := inputs.New(t)
	a.Dir(t, "localhost/x:v1", images.New(images.Layers(4, 20<<20)))
	a.Options, a.Epoch = storageOptions("overlay"), epoch
	for _, sig := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		for try := 1; ; try++ {
			cmd := exec.Command(exe)
			cmd.Stdin = bytes.NewReader(a.JSON(t))
			must(t, cmd.Start())
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			staging := filepath.Join(rootOf(a), "overlay/staging/*/dir/*")
			for len(ended) == 0 {
				if found, _ := filepath.Glob(staging); len(found) > 0 {
					break
				}
				time.Sleep(time.Millisecond)
			}
			_ = cmd.Process.Signal(sig)
			if <-ended != nil {
				break
			}
			if try == 10 {
				t.Fatalf("%s: it was done before", sig)
			}
			a.Tree = t.TempDir() // the test was too slow, on a busy machine
		}
		mounts, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil || strings.Contains(string(mounts), a.Tree) {
			t.Errorf("%s: something is mounted in the tree: %v", sig, err)
		}
		for line := range strings.Lines(listing(t, a.Tree)) {
			if strings.Contains(line, " D") || strings.Contains(line, "backingFsBlockDev") {
				t.Errorf("%s: there is a device: %s", sig, line)
			}
		}
	}
	succeed(t, a) // must not wait for a lock
	nothingLeft(t, a.Tree)
	if got := records(t, rootOf(a), "overlay"); got["localhost/x:v1"].ID == "" {
		t.Errorf("got %v", got)
	}
}

// onAnotherMount has the input on a separate mount, as in osbuild's sandbox, where linking is impossible: copies are verified, and
// no file is shared with the input.
func onAnotherMount(t *testing.T, exe string) {
	for kind, blobs := range map[string]string{toDir: "x", toOCI: "x/blobs/sha256"} {
		for _, damaged := range []bool{false, true} {
			img := small(1)
			a := inputs.New(t)
			in := a.Dir(t, "localhost/x", img)
			if damaged {
				data := bytes.Clone(img.Layers[0].Blob)
				data[len(data)/2] ^= 1
				must(t, os.WriteFile(filepath.Join(in, img.Layers[0].Digest.Encoded()), data, 0o600))
			}
			a.Options = to(kind, "/x")
			cmd := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-ec", `mount --bind "$1" "$1"; exec "$2"`, "sh", in, exe)
			cmd.Stdin = bytes.NewReader(a.JSON(t))
			log, err := cmd.CombinedOutput()
			switch {
			case strings.Contains(string(log), " cloned, "): // and nothing is verified
			case damaged && (err == nil || !strings.Contains(string(log), "blob has digest sha256:")):
				t.Errorf("%s: %v: %s", kind, err, log)
			case !damaged && (err != nil || strings.Count(string(log), " copied, ") != len(img.Layers)):
				t.Errorf("%s: %v: %s", kind, err, log)
			}
			if damaged {
				continue
			}
			for _, l := range img.Layers {
				path := filepath.Join(a.Tree, blobs, l.Digest.Encoded())
				info, err := os.Stat(path)
				if err != nil || info.Sys().(*syscall.Stat_t).Nlink != 1 || !bytes.Equal(read(t, path), l.Blob) {
					t.Errorf("%s: %s is another file: %v", kind, l.Digest, err)
				}
			}
		}
	}
}

// withoutASystem runs the executable with only the input on a read-only file system and the tree on a tmpfs, as in a virtual
// machine: no /etc, HOME or temporary directory, and /proc only for a storage.
func withoutASystem(t *testing.T, exe string) {
	overlay := object{"destination": object{"type": toStorage, "storage-path": "/x"}}
	for _, options := range []map[string]any{to(toDir, "/x"), to(toOCI, "/x"), to(toArchive, "/x"), to(toStorage, "/x"), overlay} {
		a := inputs.New(t)
		a.Dir(t, "localhost/x", small(1))
		a.Options = options
		root := t.TempDir()
		special := ""
		if strings.Contains(string(a.JSON(t)), toStorage) {
			store.NeedOverlay(t, root) // the last two
			special = `mkdir "$1/proc" "$1/run"; mount -t proc proc "$1/proc"; mount -t tmpfs run "$1/run"`
		}
		script := `mount --bind "$1" "$1"
			` + special + `
			mount -t tmpfs tree "$2"
			for d in "$2" "$3"; do mkdir -p "$1/$d"; mount --bind "$d" "$1/$d"; done
			cp "$4" "$1/org.osbuild.skopeo"
			for d in "$1" "$1/$3"; do mount -o remount,bind,ro "$d"; done
			env -i "$(command -v chroot)" "$1" /org.osbuild.skopeo
			test -e "$2/x"`
		cmd := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-ec", script, "sh", root, a.Tree, a.Path(), exe)
		cmd.Stdin = bytes.NewReader(a.JSON(t))
		if log, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %v: %s", options, err, log)
		}
	}
}

// withAnyUmask compares the results for two umasks.
func withAnyUmask(t *testing.T, exe string) {
	for _, kind := range []string{toDir, toOCI, toArchive, toStorage} {
		a := inputs.New(t)
		a.Archive(t, "localhost/x", small(1))
		a.Options, a.Epoch = to(kind, "/deep/er"), epoch
		var first string
		for _, umask := range []string{"0", "077"} {
			a.Tree = t.TempDir()
			cmd := exec.Command("sh", "-ec", `umask "$1"; exec "$2"`, "sh", umask, exe)
			cmd.Stdin = bytes.NewReader(a.JSON(t))
			if log, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s: %v: %s", kind, err, log)
			}
			got := listing(t, a.Tree)
			if first == "" {
				first = got
			}
			if got != first {
				t.Errorf("%s: got\n%s\nand\n%s", kind, first, got)
			}
		}
	}
}
