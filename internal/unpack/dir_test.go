package unpack

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"osbuild-containers/internal/deploy"
	"osbuild-containers/internal/progress"
	"osbuild-containers/test/layers"
)

// layerOf returns a layer with entries.
func layerOf(t testing.TB, entries ...layers.Entry) deploy.Layer {
	t.Helper()
	archive := layers.Archive(t, entries...)
	d := digest.FromBytes(archive)
	return deploy.Layer{Digest: d, DiffID: d, Size: int64(len(archive)), Open: func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(archive)), nil
	}}
}

// file returns a file of this process's user.
func file(name, body string) layers.Entry {
	return layers.File(name, body).With(func(h *tar.Header) { h.Uid, h.Gid = os.Getuid(), os.Getgid() })
}

func inside(t testing.TB, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return strings.Join(all, " ")
}

var quiet = progress.NewLog(io.Discard)

// A directory has its name only when it is complete; incomplete ones are removed.
func TestDirectoryIsCompleteOrAbsent(t *testing.T) {
	image := &Image{Name: "image", Layers: []deploy.Layer{layerOf(t, file("a", "1"))}}
	broken := &Image{Name: "image", Layers: []deploy.Layer{layerOf(t, file("a", "1"))}}
	broken.Layers[0].DiffID = digest.FromString("another")
	for name, c := range map[string]struct {
		image   *Image
		prepare func(path string) error
		want    string
	}{
		"new":      {image, func(string) error { return nil }, "tree"},
		"empty":    {image, func(path string) error { return os.Mkdir(path, 0o755) }, "tree"},
		"a link":   {image, func(path string) error { return errors.Join(os.Mkdir(path+"2", 0o755), os.Symlink("tree2", path)) }, "tree tree2"},
		"a broken": {broken, func(string) error { return nil }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			top := t.TempDir()
			path := filepath.Join(top, "tree")
			if err := c.prepare(path); err != nil {
				t.Fatal(err)
			}
			d, err := NewDir(path)
			if err != nil {
				t.Fatal(err)
			}
			err = c.image.Dir(t.Context(), d, deploy.Options{}, quiet)
			if entries, e := os.ReadDir(path); e == nil && len(entries) > 0 {
				t.Errorf("before the end there are %v", entries)
			}
			if err == nil {
				err = d.Commit()
			} else if e := d.Discard(); e != nil {
				t.Error(e)
			}
			if got := inside(t, top); got != c.want {
				t.Errorf("there are %q, want %q", got, c.want)
			}
			if body, _ := os.ReadFile(filepath.Join(path, "a")); err == nil && string(body) != "1" {
				t.Errorf("a is %q", body)
			}
			if (err == nil) != (c.image == image) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestWhereADirectoryCannotBe(t *testing.T) {
	top := t.TempDir()
	for _, err := range []error{
		os.WriteFile(filepath.Join(top, "file"), nil, 0o600), os.Mkdir(filepath.Join(top, "full"), 0o700),
		os.WriteFile(filepath.Join(top, "full/x"), nil, 0o600), os.Symlink("nothing", filepath.Join(top, "dangling")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]string{
		"file":      "exists and is not a directory",
		"full":      "is not empty: name a new or an empty directory",
		"dangling":  "is a symbolic link to nothing",
		"none/tree": "no such file or directory",
		"/proc":     "is not empty",
	} {
		if !filepath.IsAbs(path) {
			path = filepath.Join(top, path)
		}
		if err := CheckDir(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", path, err, want)
		}
	}
	t.Chdir(t.TempDir())
	if err := CheckDir("."); err == nil || !strings.Contains(err.Error(), "is the current directory") {
		t.Errorf("the current directory: %v", err)
	}
	if os.Geteuid() != 0 {
		return
	}
	mount := filepath.Join(top, "mount")
	if err := os.Mkdir(mount, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", mount, "tmpfs", 0, ""); err != nil {
		t.Skip(err)
	}
	defer func() { _ = unix.Unmount(mount, 0) }()
	if err := CheckDir(mount); err == nil || !strings.Contains(err.Error(), "is a mount point") {
		t.Errorf("a mount point: %v", err)
	}
	link := filepath.Join(top, "link")
	if err := errors.Join(os.Mkdir(filepath.Join(mount, "empty"), 0o700), os.Symlink("mount/empty", link)); err != nil {
		t.Fatal(err)
	}
	if err := CheckDir(link); err != nil {
		t.Errorf("a link into another file system: %v", err)
	}
}

// Directories left by a killed process are removed by the next one, unless another process is using them.
func TestLeftoversAreRemoved(t *testing.T) {
	top := t.TempDir()
	path := filepath.Join(top, "tree")
	working, err := NewDir(path)
	if err != nil {
		t.Fatal(err)
	}
	killed, err := NewDir(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(filepath.Join(killed.Path, "x"), nil, 0o600), os.Chmod(killed.Path, 0o500), killed.lock.Close()); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(top, ".tree.unpack-mine"), 0o700); err != nil {
		t.Fatal(err)
	}
	next, err := NewDir(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := next.Commit(); err != nil {
		t.Fatal(err)
	}
	if got, want := inside(t, top), filepath.Base(working.Path)+" .tree.unpack-mine tree"; got != want {
		t.Errorf("there are %q, want %q", got, want)
	}
	if err := working.Discard(); err != nil {
		t.Error(err)
	}
}

// A directory of another user with such a name is left alone.
func TestLeftoversOfOthersStay(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make a directory of another user")
	}
	path := filepath.Join(t.TempDir(), "tree")
	other := prefixOf(path) + rand.Text()
	if err := errors.Join(os.Mkdir(other, 0o700), os.Chown(other, 1234, 1234)); err != nil {
		t.Fatal(err)
	}
	d, err := NewDir(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Discard(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(other); err != nil {
		t.Error(err)
	}
}

func TestAFullDisk(t *testing.T) {
	top := t.TempDir()
	if err := unix.Mount("none", top, "tmpfs", 0, "size=1m"); err != nil {
		t.Skip("only root can mount a small file system")
	}
	defer func() { _ = unix.Unmount(top, unix.MNT_DETACH) }()
	i := &Image{Name: "image", Layers: []deploy.Layer{layerOf(t, file("a", strings.Repeat("x", 2<<20)))}}
	d, err := NewDir(filepath.Join(top, "tree"))
	if err != nil {
		t.Fatal(err)
	}
	err = i.Dir(t.Context(), d, deploy.Options{}, quiet)
	if !errors.Is(err, unix.ENOSPC) || !strings.HasPrefix(err.Error(), `image "image": layer 1/1 sha256:`) {
		t.Errorf("error %v", err)
	}
	if err := d.Discard(); err != nil {
		t.Error(err)
	}
	if got := inside(t, top); got != "" {
		t.Errorf("there are %q", got)
	}
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	i := &Image{Name: "image", Layers: []deploy.Layer{layerOf(t, file("a", "1"))}}
	i.Count(func(int64) { cancel(context.Canceled) })
	var b bytes.Buffer
	if err := i.Tar(ctx, &b, deploy.Options{}, quiet); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}
