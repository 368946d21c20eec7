package cache

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"osbuild-containers/test/calls"
)

// mountTmpfs mounts a file system of its own at dir until the test ends.
func mountTmpfs(t testing.TB, dir, options string) {
	t.Helper()
	needRoot(t)
	must(t, os.MkdirAll(dir, 0o755))
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, options); err != nil {
		t.Skip("cannot mount: ", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
}

func remount(t testing.TB, dir, options string) {
	t.Helper()
	must(t, unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, options))
}

func TestFullDiskKeepsThePartAndGoesOn(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	mountTmpfs(t, dir, "size=1m,mode=755")
	c, p := openCache(t, dir)
	b := content(1, 3<<20)
	d := descriptor(b)
	if err := put(p, b); !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "write blob: ") {
		t.Fatalf("error is %v", err)
	}
	if p.Has(d.Digest, d.Size) || pooled(p, b) != nil {
		t.Error("something is visible")
	}
	kept, err := os.ReadFile(partialOf(p, b))
	must(t, err)
	if len(kept) < 512<<10 || !bytes.HasPrefix(b, kept) {
		t.Errorf("%d bytes are kept, or wrong ones", len(kept))
	}
	remount(t, dir, "size=16m")
	w := acquire(t, p, b)
	if n, err := w.Resume(t.Context()); n != int64(len(kept)) || err != nil {
		t.Errorf("resumed at %d, want %d: %v", n, len(kept), err)
	}
	must(t, w.append(b[len(kept):]))
	must(t, w.Commit())
	must(t, w.Close())
	wantNothingLeft(t, c)
}

// What was written of a piece that did not fit is not in the way of the next.
func TestFullDiskLetsTheSameWriterGoOn(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	mountTmpfs(t, dir, "size=1100k,mode=755")
	_, p := openCache(t, dir)
	b := content(1, 3<<20)
	w := acquire(t, p, b)
	if err := w.append(b); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("error is %v", err)
	}
	remount(t, dir, "size=16m")
	must(t, w.append(b[w.Offset():]))
	must(t, w.Commit())
	if !bytes.Equal(pooled(p, b), b) {
		t.Error("the blob is wrong")
	}
}

// The disk is full at any moment of publishing, which a limit of the number of files does, too.
func TestFullDiskPublishesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	mountTmpfs(t, dir, "size=16m,nr_inodes=1000,mode=755")
	c, p := openCache(t, dir)
	img := draw(1, 0)
	img.List = []byte("list")
	for _, b := range img.content {
		must(t, put(p, b))
	}
	must(t, os.Mkdir(filepath.Dir(c.ImagePath(img.id)), 0o755))
	var st unix.Statfs_t
	must(t, unix.Statfs(dir, &st))
	for free := range 20 {
		remount(t, dir, "size=16m,nr_inodes="+strconv.Itoa(int(st.Files-st.Ffree)+free))
		err := c.Publish(context.Background(), p, img.id, img.Image)
		if err == nil {
			if free < 4 {
				t.Errorf("published with room for %d files", free)
			}
			must(t, img.check(c))
			wantNothingLeft(t, c)
			return
		}
		if !errors.Is(err, unix.ENOSPC) {
			t.Errorf("room for %d: %v", free, err)
		}
		if _, err := os.Lstat(c.ImagePath(img.id)); err == nil {
			t.Errorf("room for %d: something is published", free)
		}
		wantNothingLeft(t, c)
	}
	t.Error("never published")
}

// Where the pool, or the image's own directory, is on another file system, blobs are copied instead of linked.
func TestOtherFileSystems(t *testing.T) {
	img := draw(1, 0)
	for name, arrange := range map[string]func(t *testing.T, c *Cache){
		"pool mounted":  func(t *testing.T, c *Cache) { mountTmpfs(t, filepath.Join(c.containers, poolDir), "mode=755") },
		"image mounted": func(t *testing.T, c *Cache) { mountTmpfs(t, filepath.Dir(c.ImagePath(img.id)), "mode=755") },
		"image mounted from the same": func(t *testing.T, c *Cache) {
			needRoot(t)
			dir, other := filepath.Dir(c.ImagePath(img.id)), t.TempDir()
			must(t, os.MkdirAll(dir, 0o755))
			if err := unix.Mount(other, dir, "", unix.MS_BIND, ""); err != nil {
				t.Skip("cannot mount: ", err)
			}
			t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "cache")
			c := Open(dir)
			arrange(t, c)
			_, p := openCache(t, dir)
			img := img
			img.List = []byte("list")
			img.mustPublish(t, c, p)
			wantNothingLeft(t, c)
			checkList(t, c, img, img.List)
			before, err := os.Stat(c.ImagePath(img.id))
			must(t, err)

			img.mustPublish(t, c, p) // the same: left alone
			after, err := os.Stat(c.ImagePath(img.id))
			must(t, err)
			if !os.SameFile(before, after) {
				t.Error("the same image was replaced")
			}
			must(t, os.Remove(filepath.Join(c.ImagePath(img.id), img.Blobs[2].Digest.Encoded())))
			img.mustPublish(t, c, p) // a broken one: repaired

			must(t, os.Remove(p.path(img.Blobs[1].Digest)))
			ok, err := p.linkFile(t.Context(), filepath.Join(c.ImagePath(img.id), img.Blobs[1].Digest.Encoded()), img.Blobs[1].Digest, img.Blobs[1].Size)
			if !ok || err != nil || !bytes.Equal(pooled(p, img.content[1]), img.content[1]) {
				t.Errorf("linked: %t, %v", ok, err)
			}
			if modeOf(t, p.path(img.Blobs[1].Digest)) != 0o644 {
				t.Error("the mode is wrong")
			}
			wantNothingLeft(t, c)
		})
	}
}

// A crash while files next to the image are written leaves nothing behind, either.
func TestKilledWhilePublishingFromAnotherFileSystem(t *testing.T) {
	t.Parallel()
	for n := 1; ; n++ {
		j := job{Do: "all", Dir: filepath.Join(memoryDir(t), "cache"), Seed: 1}
		var broken calls.Call
		seen := 0
		out, _ := j.watch(t, func(c calls.Call) calls.Verdict {
			toPool, ofPool := strings.Contains(c.New, "/.pool/"), strings.Contains(c.Path, "/.pool/")
			beside := strings.Contains(c.Path+c.New, "/image-")
			switch {
			case c.New != "" && ofPool && !toPool, c.Name == "linkat" && ofPool:
				return syscall.EXDEV
			case beside && !ofPool:
				if seen++; seen == n {
					broken = c
					return calls.Kill
				}
			}
			return calls.Continue
		}, calls.Changing...)
		if broken.Name == "" {
			if n < 30 || !strings.Contains(out, "done") {
				t.Errorf("only %d calls: %s", n, out)
			}
			return
		}
		if err := j.verify(); err != nil {
			t.Errorf("call %d, %s: %v", n, broken, err)
		}
		if j.complete(t); t.Failed() {
			t.Fatalf("call %d, %s", n, broken)
		}
	}
}

func TestReadOnlyCacheCanBeRead(t *testing.T) {
	needRoot(t)
	for name, open := range map[string]bool{"with a pool": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "cache")
			img := draw(1, 0)
			list := []byte("list")
			c, p := openCache(t, dir)
			img.mustPublish(t, c, p)
			must(t, c.PublishFile(t.Context(), descriptor(list).Digest, list))
			p.Close()
			if !open {
				must(t, os.RemoveAll(filepath.Join(c.containers, poolDir)))
			}
			if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
				t.Skip("cannot mount: ", err)
			}
			t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
			must(t, unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""))

			c = Open(dir) // the handles of the other one are from before
			if _, err := c.OpenPool(context.Background()); !errors.Is(err, unix.EROFS) {
				t.Errorf("open the pool: %v", err)
			}
			if err := c.PublishFile(t.Context(), descriptor([]byte("x")).Digest, []byte("x")); !errors.Is(err, unix.EROFS) {
				t.Errorf("publish a list: %v", err)
			}
			must(t, img.check(c))
			if _, err := c.ReadFile(descriptor(list).Digest); err != nil {
				t.Error("the list cannot be read")
			}
			pub, err := c.OpenImage(img.id)
			must(t, err)
			defer pub.Close()
			if !pub.Has(img.Blobs) {
				t.Error("the image cannot be read")
			}
		})
	}
}
