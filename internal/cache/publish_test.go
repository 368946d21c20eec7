package cache

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"osbuild-containers/test/calls"
)

func TestImageIsPublishedAsItIs(t *testing.T) {
	c, p := openCache(t, t.TempDir())
	img := draw(1, 0)
	img.mustPublish(t, c, p)
	for _, b := range img.Blobs {
		if !same(t, p.path(b.Digest), filepath.Join(c.ImagePath(img.id), b.Digest.Encoded())) {
			t.Error("a blob is not a hard link into the pool")
		}
	}
	wantNothingLeft(t, c)
}

func TestImageWorksWithoutThePool(t *testing.T) {
	c, p := newCache(t)
	img := draw(1, 0)
	img.mustPublish(t, c, p)
	must(t, os.RemoveAll(filepath.Join(c.containers, poolDir)))
	must(t, img.check(c))
	_, p = openCache(t, filepath.Dir(c.containers))
	for _, b := range img.Blobs { // and its blobs come back from it
		ok, err := p.linkFile(t.Context(), filepath.Join(c.ImagePath(img.id), b.Digest.Encoded()), b.Digest, b.Size)
		if !ok || err != nil {
			t.Errorf("not linked: %v", err)
		}
	}
	img.mustPublish(t, c, p)
}

// What is published is as private as the umask says, and never writable by a group; the pool is private in any case.
func TestModesFollowTheUmask(t *testing.T) {
	for umask, modes := range map[int]struct{ dir, file os.FileMode }{
		0o022: {0o755, 0o644}, 0o077: {0o700, 0o600}, 0o027: {0o750, 0o640}, 0o002: {0o755, 0o644}, 0: {0o755, 0o644},
	} {
		dir := filepath.Join(t.TempDir(), "a", "cache")
		if out, err := (job{Do: "all", Dir: dir, Seed: 1, Umask: umask}).run(t); err != nil {
			t.Fatal(out, err)
		}
		must(t, filepath.WalkDir(filepath.Dir(dir), func(path string, d os.DirEntry, err error) error {
			name, in := filepath.Base(path), filepath.Base(filepath.Dir(path))
			if err != nil || name == "original" {
				return err
			}
			want := modes.file
			switch {
			case in == poolDir && name != "blobs" || name == poolDir: // with the lock and the directories that are not published from
				want = 0o700
				if !d.IsDir() {
					want = 0o600
				}
			case in == locksDir:
				want = 0o600
			case d.IsDir():
				want = modes.dir
			}
			if got := modeOf(t, path); got != want {
				t.Errorf("umask %03o: %s has mode %o, want %o", umask, path, got, want)
			}
			return nil
		}))
	}
}

// Whatever has the image's name gives way, at once and without a trace.
func TestWhatIsInTheWayIsReplaced(t *testing.T) {
	for name, put := range map[string]func(t *testing.T, dest, outside string){
		"nothing":         func(*testing.T, string, string) {},
		"empty directory": func(t *testing.T, dest, _ string) { must(t, os.MkdirAll(dest, 0o700)) },
		"directory":       func(t *testing.T, dest, _ string) { writeTest(t, filepath.Join(dest, "x", "y"), []byte("z")) },
		"file":            func(t *testing.T, dest, _ string) { writeTest(t, dest, []byte("z")) },
		"pipe": func(t *testing.T, dest, _ string) {
			must(t, os.MkdirAll(filepath.Dir(dest), 0o755))
			must(t, unix.Mkfifo(dest, 0o644))
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, p := newCache(t)
			outside := t.TempDir()
			writeTest(t, filepath.Join(outside, "file"), []byte("x"))
			img := draw(1, 0)
			put(t, c.ImagePath(img.id), outside)
			img.mustPublish(t, c, p)
			if fi, err := os.Lstat(c.ImagePath(img.id)); err != nil || !fi.IsDir() {
				t.Errorf("not a directory: %v", err)
			}
			if _, err := os.Stat(filepath.Join(outside, "file")); err != nil {
				t.Errorf("a link was followed: %v", err)
			}
			wantNothingLeft(t, c)
		})
	}
}

// A build that reads an image keeps it when another process has fetched the same.
func TestTheSameImageIsLeftAlone(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(t *testing.T, dir string, img *picture)
		left  bool
	}{
		"the same":           {func(*testing.T, string, *picture) {}, true},
		"the same, list now": {func(_ *testing.T, _ string, img *picture) { img.List = []byte("list") }, true},
		"blob missing": {func(t *testing.T, dir string, img *picture) {
			must(t, os.Remove(filepath.Join(dir, img.Blobs[1].Digest.Encoded())))
		}, false},
		"blob of the right size, damaged": {func(t *testing.T, dir string, img *picture) {
			path := filepath.Join(dir, img.Blobs[1].Digest.Encoded())
			must(t, os.Remove(path))
			writeTest(t, path, make([]byte, img.Blobs[1].Size))
		}, false},
		"blob is a copy": {func(t *testing.T, dir string, img *picture) {
			path := filepath.Join(dir, img.Blobs[1].Digest.Encoded())
			must(t, os.Remove(path))
			writeTest(t, path, img.content[1])
		}, true},
		"manifest damaged": {func(t *testing.T, dir string, _ *picture) {
			writeTest(t, filepath.Join(dir, manifestFile), []byte("{}"))
		}, false},
		"version missing": {func(t *testing.T, dir string, _ *picture) {
			must(t, os.Remove(filepath.Join(dir, versionFile)))
		}, false},
		"signature added": {func(_ *testing.T, _ string, img *picture) {
			img.Signatures = append(img.Signatures, []byte("another"))
		}, false},
		"signature dropped": {func(_ *testing.T, _ string, img *picture) { img.Signatures = nil }, false},
		"another variant":   {func(_ *testing.T, _ string, img *picture) { *img = draw(1, 1) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			ca, p := newCache(t)
			img := draw(1, 0)
			img.mustPublish(t, ca, p)
			dir := ca.ImagePath(img.id)
			before, err := os.Stat(dir)
			must(t, err)
			c.spoil(t, dir, &img)
			img.mustPublish(t, ca, p)
			after, err := os.Stat(dir)
			must(t, err)
			if left := os.SameFile(before, after); left != c.left {
				t.Errorf("left alone: %t, want %t", left, c.left)
			}
			if img.List != nil {
				checkList(t, ca, img, img.List)
			}
			wantNothingLeft(t, ca)
		})
	}
}

// In a sandbox that has the directory only, a link leads nowhere.
func TestLinkToAnImageIsNoImage(t *testing.T) {
	c, p := newCache(t)
	img := draw(1, 0)
	img.mustPublish(t, c, p)
	elsewhere := filepath.Join(c.files, "elsewhere")
	must(t, os.MkdirAll(c.files, 0o755))
	must(t, os.Rename(c.ImagePath(img.id), elsewhere))
	link(t, elsewhere, c.ImagePath(img.id))
	if pub, err := c.OpenImage(img.id); err == nil {
		pub.Close()
		t.Error("a link is taken for an image")
	}
	if err := img.publish(c, p); !errors.Is(err, ErrForeign) {
		t.Errorf("published over a link: %v", err)
	}
}

// Nor is a link to a directory taken for an image: the publication fails.
func TestLinkToAFolderOfAnImage(t *testing.T) {
	c, p := newCache(t)
	img := draw(1, 0)
	must(t, os.Symlink(t.TempDir(), filepath.Dir(c.ImagePath(img.id))))
	if err := img.publish(c, p); !errors.Is(err, ErrForeign) {
		t.Errorf("got %v", err)
	}
}

func checkList(t *testing.T, c *Cache, img picture, want []byte) {
	t.Helper()
	pub, err := c.OpenImage(img.id)
	must(t, err)
	defer pub.Close()
	if got, err := pub.List(); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the list is %q (%v), want %q", got, err, want)
	}
}

func TestListLiesBesideTheImage(t *testing.T) {
	c, p := newCache(t)
	img := draw(1, 0)
	path := filepath.Join(filepath.Dir(c.ImagePath(img.id)), listFile)
	last, lastFile := "", os.FileInfo(nil)
	for _, list := range []string{"one", "one", "another", "", "one"} {
		img.List = nil
		if list != "" {
			img.List = []byte(list)
		}
		img.mustPublish(t, c, p)
		file, _ := os.Stat(path)
		if list == last && !os.SameFile(file, lastFile) {
			t.Error("the same list was written again")
		}
		last, lastFile = list, file
		checkList(t, c, img, img.List)
	}
	wantNothingLeft(t, c)
}

func TestImageWithoutItsBlobsIsNotPublished(t *testing.T) {
	c, p := newCache(t)
	img := draw(1, 0)
	must(t, put(p, img.content[0]))
	if err := c.Publish(context.Background(), p, img.id, img.Image); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error is %v", err)
	}
	if _, err := c.OpenImage(img.id); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("look: %v", err)
	}
	wantNothingLeft(t, c)
}

// While one process gives an image its name, another that wants to waits, and then leaves it alone.
func TestPublishingWaitsForAnotherProcess(t *testing.T) {
	c, p := newCache(t)
	img := draw(1, 0)
	dest := c.ImagePath(img.id)
	published := make(chan os.FileInfo, 1)
	begun := false
	j := job{Do: "publish", Dir: filepath.Dir(c.containers), Seed: 1, Count: 1}
	out, err := j.watch(t, func(call calls.Call) calls.Verdict {
		if call.New != dest || begun {
			return calls.Continue
		}
		begun = true
		go func() {
			if err := c.Publish(context.Background(), p, img.id, img.Image); err != nil {
				t.Error(err)
			}
			fi, _ := os.Stat(dest)
			published <- fi
		}()
		select {
		case fi := <-published:
			t.Error("it did not wait")
			published <- fi
		case <-time.After(100 * time.Millisecond):
		}
		return calls.Continue
	}, "renameat2")
	if err != nil || !begun {
		t.Fatal(err, out)
	}
	after, err := os.Stat(dest)
	must(t, err)
	if fi := <-published; fi == nil || !os.SameFile(fi, after) {
		t.Error("one has replaced the image of the other")
	}
	must(t, img.check(c))
	wantNothingLeft(t, c)
}

// Many that publish the same image at one time: one succeeds, and none removes it again.
func TestConcurrentPublishersLeaveOneImage(t *testing.T) {
	c, p := newCache(t)
	img := draw(1, 0)
	for _, b := range img.content {
		must(t, put(p, b))
	}
	must(t, os.MkdirAll(c.ImagePath(img.id), 0o755)) // a broken one is there
	var wg sync.WaitGroup
	seen := make([]os.FileInfo, 8)
	for i := range seen {
		wg.Go(func() {
			if err := c.Publish(context.Background(), p, img.id, img.Image); err != nil {
				t.Error(err)
				return
			}
			seen[i], _ = os.Stat(c.ImagePath(img.id))
		})
	}
	wg.Wait()
	for _, fi := range seen {
		if fi == nil || !os.SameFile(fi, seen[0]) {
			t.Fatal("a publisher has replaced the image of another")
		}
	}
	must(t, img.check(c))
	wantNothingLeft(t, c)
}
