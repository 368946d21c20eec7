package skopeo

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"osbuild-containers/internal/image/input"
	"osbuild-containers/internal/module"
	"osbuild-containers/internal/process"
	"osbuild-containers/internal/request"
	"osbuild-containers/test/calls"
	"osbuild-containers/test/images"
	"osbuild-containers/test/inputs"
	"osbuild-containers/test/store"
	"osbuild-containers/test/userns"
)

// TestInUserNamespace runs the stage's tests again as osbuild runs it for an ordinary user, except those that set owners above
// 65,536, mount, or use other namespaces.
func TestInUserNamespace(t *testing.T) {
	userns.All(t, "^(TestAsAProcess|TestIgnoreOwners|TestStorageOfAnOrdinaryUser|TestDevicesInUserNamespace|TestKilledInUserNamespace|TestWithoutRights)$")
}

// TestIgnoreOwners writes an image with unmapped owners, with one mapped ID and without a mount namespace: an error names the first
// owner; with ignore-owners the result is a readable storage, and one warning.
func TestIgnoreOwners(t *testing.T) {
	if !userns.Inside(t, userns.OneID()) {
		return
	}
	img := images.New(images.Files(
		images.File{Name: "own"}, images.File{Name: "d/", UID: 7}, images.File{Name: "d/f", UID: 1000, GID: 1000, Mode: 0o4755}, images.File{Name: "l", Link: "own", GID: 9},
	))
	drivers(t, func(t *testing.T, driver string) {
		a := inputs.New(t)
		a.Dir(t, "localhost/one:v1", img)
		a.Options = storageOptions(driver)
		if code, log := call(t, a); code == 0 || !strings.Contains(log, `"d/": set owner 7:0: invalid argument`) || !strings.Contains(log, "or set the option ignore-owners") {
			t.Errorf("exit status %d: %s", code, log)
		}

		a = inputs.New(t)
		a.Dir(t, "localhost/one:v1", img)
		opt := storageOptions(driver)
		opt["ignore-owners"] = true
		a.Options = opt
		code, log := call(t, a)
		if code != 0 {
			t.Fatalf("exit status %d: %s", code, log)
		}
		if want := `warning: owners are ignored: 3 are not kept, the first is 7:0 of "d/"` + "\n"; strings.Count(log, "warning: ") != 1 || !strings.Contains(log, want) {
			t.Errorf("got %s, want %s", log, want)
		}
		setuid := 0
		err := filepath.WalkDir(rootOf(a), func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			if st := info.Sys().(*syscall.Stat_t); st.Uid != 0 || st.Gid != 0 {
				t.Errorf("%s belongs to %d:%d", path, st.Uid, st.Gid)
			}
			if info.Mode()&os.ModeSetuid != 0 {
				setuid++
			}
			return nil
		})
		if err != nil || setuid != 1 {
			t.Errorf("%d files are setuid, want 1: %v", setuid, err)
		}
		opened, err := input.Open(t.Context(), request.InputImage{Path: rootOf(a), Key: img.ID.String(), Format: request.FormatContainersStorage, Name: "localhost/one:v1"})
		if err != nil {
			t.Fatal(err)
		}
		if err := opened.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestStorageOfAnOrdinaryUser reads a storage as its owner, an ordinary user without a namespace, who cannot mount.
func TestStorageOfAnOrdinaryUser(t *testing.T) {
	const dir = "TEST_STORAGE"
	img := small(1)
	if !userns.Second() {
		store.NeedOverlay(t, t.TempDir())
		for _, driver := range []string{"overlay", "vfs"} {
			top := t.TempDir()
			for _, d := range []string{filepath.Dir(top), top} {
				must(t, os.Chmod(d, 0o755))
			}
			a := inputs.In(t, top)
			a.Dir(t, "localhost/one:v1", img)
			a.Options = storageOptions(driver)
			succeed(t, a)
			must(t, filepath.WalkDir(a.Tree, func(path string, _ fs.DirEntry, err error) error {
				return errors.Join(err, os.Lchown(path, userns.User, userns.User))
			}))
			userns.Inside(t, userns.Ordinary(), dir+"="+rootOf(a))
		}
		return
	}
	opened, err := input.Open(t.Context(), request.InputImage{Path: os.Getenv(dir), Key: img.ID.String(), Format: request.FormatContainersStorage, Name: "localhost/one:v1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range opened.Manifest().Layers {
		r, err := opened.Blob(t.Context(), l)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, r); err != nil {
			t.Error(err)
		}
		r.Close()
	}
	if err := opened.Close(); err != nil {
		t.Error(err)
	}
}

// TestDevicesInUserNamespace checks that devices and hard links to them are left out, with one warning, and that layers are read
// back unchanged.
func TestDevicesInUserNamespace(t *testing.T) {
	if !userns.Inside(t, userns.OneID()) {
		return
	}
	drivers(t, func(t *testing.T, driver string) {
		for name, c := range userns.Devices() {
			if c.Across && driver == "overlay" {
				continue
			}
			t.Run(name, func(t *testing.T) {
				layers := deviceLayers(t, c)
				for before := range layers { // that the storage has from another run
					a := inputs.New(t)
					a.Options = storageOptions(driver)
					count, first := 0, ""
					if before > 0 {
						a.Dir(t, "localhost/below:v1", images.New(images.Use(layers[:before]...)))
						count, first = leftOut(t, a)
						tree := a.Tree
						a = inputs.New(t)
						a.Tree, a.Options = tree, storageOptions(driver)
					}
					img := images.New(images.Use(layers...))
					a.Dir(t, "localhost/one:v1", img)
					n, name := leftOut(t, a)
					if count == 0 {
						first = name
					}
					if count += n; count != c.Count || first != c.First {
						t.Errorf("%d layers before: %d are left out, the first is %q, want %d, %q", before, count, first, c.Count, c.First)
					}
					if got := userns.Links(t, unpacked(rootOf(a), driver, layers)...); got != c.Links && (!c.Replaces || driver != "overlay") {
						t.Errorf("%d layers before: got %q, want %q", before, got, c.Links)
					}
					same(t, rootOf(a), img, layers)
				}
			})
		}
	})
}

// deviceLayers are the layers of a case.
func deviceLayers(t *testing.T, c userns.DeviceCase) (layers []images.LayerInfo) {
	t.Helper()
	for _, headers := range c.Layers {
		blob := userns.Archive(t, headers)
		d := digest.FromBytes(blob)
		layers = append(layers, images.LayerInfo{Digest: d, DiffID: d, Size: int64(len(blob)), MediaType: "application/vnd.oci.image.layer.v1.tar", Blob: blob})
	}
	return layers
}

// leftOut runs the stage and returns how many devices its only warning, if any, counts, and the first.
func leftOut(t *testing.T, a *inputs.Arguments) (n int, first string) {
	t.Helper()
	code, log := call(t, a)
	_, warning, warned := strings.Cut(log, "warning: ")
	if code != 0 || strings.Contains(warning, "warning: ") {
		t.Fatalf("exit status %d: %s", code, log)
	}
	if warned {
		warning = strings.Replace(warning, " 1 is not made: ", " 1 are not made, the first is ", 1)
		if _, err := fmt.Sscanf(warning, "only root of the host can make device nodes: %d are not made, the first is %q\n", &n, &first); err != nil {
			t.Errorf("%v in %s", err, warning)
		}
	}
	return n, first
}

// same compares the layers that a storage has of an image.
func same(t *testing.T, root string, img *images.Image, layers []images.LayerInfo) {
	t.Helper()
	for n, l := range stored(t, root, img) {
		if !bytes.Equal(l, layers[n].Blob) {
			t.Errorf("layer %d is another one: %d bytes, want %d", n, len(l), len(layers[n].Blob))
		}
	}
}

// TestKilledInUserNamespace kills the stage at each call that changes what the storage knows of layers and images. The
// image is then either complete or not found, and the next run completes it.
func TestKilledInUserNamespace(t *testing.T) {
	asVictim(t)
	if !userns.Inside(t, userns.OneID()) {
		return
	}
	c := userns.Devices()["replaced by a file"]
	layers := deviceLayers(t, c)
	img := images.New(images.Use(layers...))
	drivers(t, func(t *testing.T, driver string) {
		for n := 1; ; n++ {
			a := inputs.New(t)
			a.Dir(t, "localhost/one:v1", img)
			a.Options = storageOptions(driver)
			seen := 0
			var at calls.Call
			err := calls.Start(t, victim(t, a), func(c calls.Call) calls.Verdict {
				if c.Below(filepath.Join(rootOf(a), driver+"-layers")) || c.Below(filepath.Join(rootOf(a), driver+"-images")) {
					if seen++; seen == n {
						at = c
						return calls.Kill
					}
				}
				return calls.Continue
			}, "unlinkat", "linkat", "renameat", "renameat2").Wait()
			if at.Name == "" {
				if err != nil || n < 10 {
					t.Errorf("only %d calls: %v", seen, err)
				}
				return
			}
			what := fmt.Sprintf("killed at call %d, %s", n, at)
			if opened, err := input.Open(t.Context(), request.InputImage{Path: rootOf(a), Key: img.ID.String(), Format: request.FormatContainersStorage, Name: "localhost/one:v1"}); err == nil {
				must(t, opened.Close())
				same(t, rootOf(a), img, layers)
			}
			if code, log := call(t, a); code != 0 {
				t.Fatalf("%s: exit status %d: %s", what, code, log)
			}
			if got := userns.Links(t, unpacked(rootOf(a), driver, layers)...); got != c.Links {
				t.Errorf("%s: got %q, want %q", what, got, c.Links)
			}
			same(t, rootOf(a), img, layers)
			if raw, err := os.ReadFile(filepath.Join(rootOf(a), driver+"-layers/layers.json")); err != nil || strings.Contains(string(raw), "names") {
				t.Errorf("%s: %v in %s", what, err, raw)
			}
			if t.Failed() {
				t.Fatal(what)
			}
		}
	})
}

// TestWithoutRights runs the stage as root of a container, without one capability each: what is left out is that of an
// ordinary user. The file system of a virtual machine that an ordinary user runs refuses devices, too.
func TestWithoutRights(t *testing.T) {
	for name, c := range map[string]uintptr{"CAP_SYS_ADMIN": unix.CAP_SYS_ADMIN, "CAP_MKNOD": unix.CAP_MKNOD} {
		t.Run(name, func(t *testing.T) {
			userns.Drop(t, c)
			if !userns.Inside(t, &syscall.SysProcAttr{}) {
				return
			}
			devices := deviceLayers(t, userns.Devices()["one link"])
			drivers(t, func(t *testing.T, driver string) {
				a := inputs.New(t)
				a.Dir(t, "localhost/one:v1", images.New(images.Use(append(devices, withOpaque().Layers...)...)))
				a.Options = storageOptions(driver)
				code, log := call(t, a)
				want := []string{`2 are not made, the first is "dev/console"` + "\n"}
				if driver == "overlay" {
					want = append(want, `1 is not set: trusted.overlay.opaque of "deep/d"`+"\n")
				}
				for _, w := range want {
					if !strings.Contains(log, w) {
						t.Errorf("want %s", w)
					}
				}
				if code != 0 || strings.Count(log, "warning: ") != len(want) {
					t.Errorf("exit status %d: %s", code, log)
				}
			})
		})
	}
}

// TestAttributesAreRefused has a file system that does not take attributes, such as virtiofs of a virtual machine: overlay
// cannot have an opaque directory there, vfs needs no attribute.
func TestAttributesAreRefused(t *testing.T) {
	asVictim(t)
	drivers(t, func(t *testing.T, driver string) {
		a := inputs.New(t)
		a.Dir(t, "localhost/one:v1", withOpaque())
		a.Options = storageOptions(driver)
		var out bytes.Buffer
		cmd := victim(t, a)
		cmd.Stdout, cmd.Stderr = &out, &out
		err := calls.Start(t, cmd, func(calls.Call) calls.Verdict { return syscall.EPERM }, "setxattr").Wait()
		if driver == "vfs" {
			if err != nil {
				t.Errorf("%v: %s", err, &out)
			}
			return
		}
		for _, want := range []string{`"deep/d": set `, ".overlay.opaque: operation not permitted", "use a tree on another file system, or the storage-driver vfs"} {
			if err == nil || !strings.Contains(out.String(), want) {
				t.Errorf("%v: %s, want %q", err, &out, want)
			}
		}
	})
}

func withOpaque() *images.Image {
	return images.New(images.Files(images.File{Name: "deep/"}, images.File{Name: "deep/d/"}, images.File{Name: "deep/d/.wh..wh..opq"}, images.File{Name: "f"}))
}

// asVictim is the stage where victim has started this process.
func asVictim(t *testing.T) {
	t.Helper()
	if os.Getenv(victimVariable) != "" {
		os.Exit(module.Stage{Name: "org.osbuild.skopeo", Run: run}.Main(t.Context(), module.Env{
			Env: process.Env{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr},
		}))
	}
}

const victimVariable = "TEST_VICTIM"

// victim is a process that runs the stage, of a test that calls asVictim first.
func victim(t *testing.T, a *inputs.Arguments) *exec.Cmd {
	t.Helper()
	name, _, _ := strings.Cut(t.Name(), "/")
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^"+name+"$")
	cmd.Env = append(os.Environ(), victimVariable+"=1")
	cmd.Stdin = bytes.NewReader(a.JSON(t))
	return cmd
}

// unpacked returns the directories of the layers; with vfs, the last one contains all layers.
func unpacked(root, driver string, layers []images.LayerInfo) (dirs []string) {
	id := ""
	for _, l := range layers {
		if id != "" {
			id = digest.FromString(id + "+" + l.DiffID.Encoded()).Encoded()
		} else {
			id = l.DiffID.Encoded()
		}
		dirs = append(dirs, filepath.Join(root, "overlay", id, "diff"))
	}
	if driver == "vfs" {
		return []string{filepath.Join(root, "vfs/dir", id)}
	}
	return dirs
}

// stored returns the layers of an image in a storage.
func stored(t *testing.T, root string, img *images.Image) (layers [][]byte) {
	t.Helper()
	opened, err := input.Open(t.Context(), request.InputImage{Path: root, Key: img.ID.String(), Format: request.FormatContainersStorage, Name: "localhost/one:v1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range opened.Manifest().Layers {
		r, err := opened.Blob(t.Context(), l)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		layers = append(layers, b)
		r.Close()
	}
	if err := opened.Close(); err != nil {
		t.Fatal(err)
	}
	return layers
}
