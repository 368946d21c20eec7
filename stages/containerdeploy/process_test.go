package containerdeploy

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"osbuild-containers/test/images"
	"osbuild-containers/test/inputs"
	"osbuild-containers/test/store"
)

// The executable needs only itself and what every sandbox has: an empty /etc, /proc and, for a storage, /run; no environment, no
// /tmp, no /var. Its input is read-only.
func TestNothingOfTheBuildRootIsNeeded(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can change the root")
	}
	root := t.TempDir()
	build := exec.Command("go", "build", "-tags", "containers_image_openpgp exclude_graphdriver_btrfs exclude_graphdriver_zfs containers_image_docker_daemon_stub",
		"-o", filepath.Join(root, Stage.Name), "../all")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	mount := func(what, where string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(root, where), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount(what, filepath.Join(root, where), "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Unmount(filepath.Join(root, where), unix.MNT_DETACH) })
	}
	readOnly := func(what, where string) {
		t.Helper()
		mount(what, where)
		if err := unix.Mount("", filepath.Join(root, where), "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
			t.Fatal(err)
		}
	}
	mount("/proc", "proc")
	if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	img := images.New(images.Use(layerOf(t, packed(t, tricky(t), "none"))), images.LayerAs(images.Zstd, 300_000))
	s := store.New(t, "overlay")
	s.Add(t, "localhost/x:v1", img)
	trees := map[string][]byte{}
	for name, add := range map[string]func(a *inputs.Arguments){
		"dir":     func(a *inputs.Arguments) { a.Dir(t, "localhost/x:v1", img) },
		"archive": func(a *inputs.Arguments) { a.Archive(t, "localhost/x:v1", img) },
		"storage": func(a *inputs.Arguments) { a.Stored(t, "localhost/x:v1", "/store", "overlay", img) },
	} {
		a := inputs.New(t)
		add(a)
		a.Options, a.Epoch = map[string]any{}, 5
		stdin := string(a.JSON(t))
		_, rest, _ := strings.Cut(stdin, `"path":"`)
		in, _, _ := strings.Cut(rest, `"`)
		mount(a.Tree, "tree")
		readOnly(in, "in")
		if name == "storage" {
			readOnly(s.Root, "store")
			mount(t.TempDir(), "run")
		}
		var log bytes.Buffer
		cmd := exec.Command("/" + Stage.Name)
		cmd.Dir, cmd.Env, cmd.Stderr = "/", []string{}, &log
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
		cmd.Stdin = strings.NewReader(strings.NewReplacer(a.Tree, "/tree", in, "/in").Replace(stdin))
		if err := cmd.Run(); err != nil {
			t.Fatalf("%s: %v: %s", name, err, log.String())
		}
		trees[name] = packed(t, a.Tree, "none")
		for _, where := range []string{"tree", "in"} {
			if err := unix.Unmount(filepath.Join(root, where), unix.MNT_DETACH); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !bytes.Equal(trees["dir"], trees["archive"]) || !bytes.Equal(trees["dir"], trees["storage"]) {
		t.Error("the trees are different")
	}
}
