package crash_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"osbuild-containers/test/images"
	"osbuild-containers/test/inputs"
)

// mount mounts a file system at dir until the test ends.
func mount(t testing.TB, source, dir, kind string, flags uintptr, options string) {
	t.Helper()
	needRoot(t)
	must(t, os.MkdirAll(dir, 0o755))
	if err := unix.Mount(source, dir, kind, flags, options); err != nil {
		t.Skip("cannot mount: ", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
}

// failed waits for a run whose only item fails, and returns the item's error.
func (r *run) failed() string {
	r.t.Helper()
	status, rep := r.wait()
	if status != 1 || rep.Success || len(rep.Results) != 1 || rep.Results[0].Success {
		r.t.Fatalf("exit status %d, reply %+v\n%s", status, rep, r.log.String())
	}
	return rep.Results[0].Error
}

func wantText(t testing.TB, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("the error is\n%s\nand does not say %q", text, w)
		}
	}
}

func TestFullDisk(t *testing.T) {
	img := images.New(images.Layer(2<<20), images.Layer(3<<20), images.Layer(1<<20))
	list := images.NewList(images.Of(img))
	for name, c := range map[string]struct {
		small, large string
		resumes      bool
	}{
		"no bytes": {"size=4m", "size=64m", true},
		"no files": {"size=64m,nr_inodes=14", "size=64m,nr_inodes=10000", false},
	} {
		t.Run(name, func(t *testing.T) {
			_, name := serve(t, list)
			cache := newCache(t)
			mount(t, "tmpfs", cache, "tmpfs", 0, c.small)
			err := start(t, skopeo, request(cache, name, img)).failed()
			wantText(t, err, name, "no space left on device", "the disk of the cache is full: make room and run again")
			if verify(t, cache, img) != 0 {
				t.Error("something is published")
			}
			wantNothingLeft(t, cache, false)
			must(t, unix.Mount("tmpfs", cache, "tmpfs", unix.MS_REMOUNT, c.large))
			kept := partialBytes(cache) + pooledBytes(cache)
			reused := fetch(t, skopeo, request(cache, name, img)).Results[0].Metadata.Reused
			wantAll(t, cache, img)
			if reused != kept || c.resumes && kept < 2<<20 {
				t.Errorf("%d bytes were kept, %d of them were used", kept, reused)
			}
		})
	}
	t.Run("list", func(t *testing.T) {
		_, name := serve(t, list)
		cache := newCache(t)
		mount(t, "tmpfs", cache, "tmpfs", 0, "size=1m,nr_inodes=2") // the directory, but no file in it
		err := start(t, index, listRequest(cache, name, list)).failed()
		wantText(t, err, "no space left on device", "the disk of the cache is full")
		must(t, unix.Mount("tmpfs", cache, "tmpfs", unix.MS_REMOUNT, "size=1m,nr_inodes=100"))
		fetch(t, index, listRequest(cache, name, list))
		wantAll(t, cache, img)
	})
}

// A full temporary directory is an error of the import that names it.
func TestFullTemporaryDirectory(t *testing.T) {
	tmp := t.TempDir()
	mount(t, "tmpfs", tmp, "tmpfs", 0, "size=64k")
	cache := newCache(t)
	path, err := filepath.Abs(filepath.Join("..", "..", "build", "osbuild-containers"))
	must(t, err)
	cmd := exec.Command(path, "import", "-", "--cache", cache)
	cmd.Env = append(environ(t), "TMPDIR="+tmp)
	cmd.Stdin = bytes.NewReader(inputs.Archive(images.New(images.Layer(1 << 20))))
	out, err := cmd.CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 {
		t.Errorf("got %v, want status 1", err)
	}
	wantText(t, string(out), "write a temporary file in "+tmp+": no space left on device\nmake room there, or set TMPDIR")
	if _, err := os.Stat(cache); err == nil {
		t.Error("there is a cache")
	}
}

func TestReadOnlyCache(t *testing.T) {
	img, other := images.New(images.Layer(1000)), images.New(images.Layer(2000))
	f, name := serve(t, img, other)
	cache := newCache(t)
	fetch(t, skopeo, request(cache, name, img))
	mount(t, cache, cache, "", unix.MS_BIND, "")
	must(t, unix.Mount("", cache, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""))
	f.Reset()
	if !fetch(t, skopeo, request(cache, name, img)).Results[0].Metadata.Cached || len(f.Requests()) > 0 {
		t.Error("what is there is not found")
	}
	wantText(t, start(t, skopeo, request(cache, name, other)).failed(),
		"read-only file system", "the cache must be writable: check its mount and its permissions")
}

func TestCacheOnSeveralFileSystems(t *testing.T) {
	img := images.New(images.Layer(300_000), images.Layer(1000))
	for name, elsewhere := range map[string]string{
		"pool":       filepath.Join(containers, ".pool"),
		"item":       filepath.Join(containers, img.ID.String()),
		"containers": containers,
	} {
		t.Run(name, func(t *testing.T) {
			f, name := serve(t, img)
			cache := newCache(t)
			mount(t, "tmpfs", filepath.Join(cache, elsewhere), "tmpfs", 0, "mode=755")
			fetch(t, skopeo, request(cache, name, img))
			wantAll(t, cache, img)
			must(t, os.Remove(filepath.Join(imagePath(cache, img), img.Layers[0].Digest.Encoded())))
			f.Reset()
			fetch(t, skopeo, request(cache, name, img))
			wantAll(t, cache, img)
			if sent := f.BytesSent("/blobs/"); sent != 0 {
				t.Errorf("%d bytes were sent for the repair", sent)
			}
		})
	}
}
