package cache

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"osbuild-containers/test/calls"
)

func anyImage(*Published) bool { return true }

// future is a time before which all was touched.
func future() time.Time { return time.Now().Add(time.Hour) }

// pruneNow is Prune that does not wait.
func pruneNow(c *Cache, before time.Time) (Pruned, error) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return c.Prune(ctx, before)
}

func TestRemoveAndPrune(t *testing.T) {
	c, p := newCache(t)
	one, two := draw(1, 0), draw(2, 0)
	two.Blobs[1], two.content[1] = one.Blobs[1], one.content[1] // shared
	one.List, one.Origins = []byte("list"), allOrigins(0)
	one.mustPublish(t, c, p)
	two.mustPublish(t, c, p)
	loose := content(9, 77)
	must(t, put(p, loose))

	freed, err := c.Remove(context.Background(), one.id, anyImage)
	if err != nil || freed != 0 { // the pool has all of it
		t.Fatalf("freed %d, %v", freed, err)
	}
	if _, err := os.Lstat(filepath.Dir(c.ImagePath(one.id))); !isAbsent(err) {
		t.Errorf("the image's directory is there: %v", err)
	}
	must(t, two.check(c))
	if _, err := pruneNow(c, future()); !errors.Is(err, ErrInUse) {
		t.Fatalf("the pool is open and was pruned: %v", err)
	}
	must(t, p.Close())
	pruned, err := pruneNow(c, future())
	must(t, err)
	var bytes int64
	for _, b := range pruned.Unused {
		bytes += b.Size
	}
	if want := one.Blobs[0].Size + one.Blobs[2].Size + 77; len(pruned.Unused) != 3 || bytes != want {
		t.Errorf("%d blobs with %d bytes were removed, want 3 with %d", len(pruned.Unused), bytes, want)
	}
	must(t, two.check(c))
	pooled, err := c.Pooled()
	must(t, err)
	if len(pooled) != 3 {
		t.Errorf("the pool has %d blobs, want those of the image that is left", len(pooled))
	}
	if _, err := c.Remove(context.Background(), one.id, anyImage); !isAbsent(err) {
		t.Errorf("removed twice: %v", err)
	}
}

// What osbuild's own source published has no pool: its bytes come free with it.
func TestRemoveWithoutPool(t *testing.T) {
	c, p := newCache(t)
	img := draw(1, 0)
	img.mustPublish(t, c, p)
	must(t, os.RemoveAll(filepath.Join(c.containers, poolDir)))
	want := img.Blobs[0].Size + img.Blobs[1].Size + img.Blobs[2].Size
	if freed, err := c.Remove(context.Background(), img.id, anyImage); err != nil || freed != want {
		t.Errorf("freed %d, %v, want %d", freed, err, want)
	}
	if pruned, err := pruneNow(c, future()); err != nil || len(pruned.Unused) > 0 {
		t.Errorf("%v, %v", pruned, err)
	}
	if left, _ := os.ReadDir(c.containers); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestPartialDownloadsAreAbandonedAfterATime(t *testing.T) {
	c, p := newCache(t)
	must(t, p.Close())
	old, fresh := content(1, 50), content(2, 60)
	for _, b := range [][]byte{old, fresh} {
		writeTest(t, filepath.Join(p.partial.path, descriptor(b).Digest.Encoded()), b)
	}
	at := time.Now().Add(-time.Hour)
	must(t, os.Chtimes(filepath.Join(p.partial.path, descriptor(old).Digest.Encoded()), at, at))
	pruned, err := pruneNow(c, at.Add(time.Minute))
	must(t, err)
	if len(pruned.Partial) != 1 || pruned.Partial[0].Size != 50 {
		t.Errorf("removed: %v", pruned.Partial)
	}
	if left, err := c.Partial(); err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// An image in use is kept.
func TestRemoveLeavesWhatIsInUse(t *testing.T) {
	for name, hold := range map[string]func(t *testing.T, c *Cache, img picture) (release func()){
		"held by a reader": func(t *testing.T, c *Cache, img picture) func() {
			pub, err := c.OpenImage(img.id)
			must(t, err)
			t.Cleanup(pub.Close)
			release, err := pub.RLock()
			must(t, err)
			return release
		},
		"being published": func(t *testing.T, c *Cache, img picture) func() {
			unlock, err := c.lockImage(t.Context(), img.id, unix.LOCK_EX)
			must(t, err)
			return unlock
		},
		"mounted": func(t *testing.T, c *Cache, img picture) func() {
			needRoot(t)
			at := t.TempDir()
			if err := unix.Mount(c.ImagePath(img.id), at, "", unix.MS_BIND, ""); err != nil {
				t.Skip(err)
			}
			return func() { must(t, unix.Unmount(at, 0)) }
		},
		"used since it was listed": func(*testing.T, *Cache, picture) func() { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			c, p := newCache(t)
			img := draw(1, 0)
			img.mustPublish(t, c, p)
			release := hold(t, c, img)
			same := func(*Published) bool { return release != nil }
			if _, err := c.Remove(context.Background(), img.id, same); !errors.Is(err, ErrInUse) {
				t.Fatalf("got %v, want that it is in use", err)
			}
			must(t, img.check(c))
			wantNothingLeft(t, c)
			if release != nil {
				release()
			}
			_, err := c.Remove(context.Background(), img.id, anyImage)
			must(t, err)
		})
	}
}

// A reader that was too late to hold an image is told, also if it was replaced.
func TestRLockOfWhatIsGone(t *testing.T) {
	c, p := newCache(t)
	draw(1, 0).mustPublish(t, c, p)
	pub, err := c.OpenImage(draw(1, 0).id)
	must(t, err)
	defer pub.Close()
	draw(1, 1).mustPublish(t, c, p)
	if _, err := pub.RLock(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("replaced: %v", err)
	}
}

// A process that waits for the lock of a directory that is removed meanwhile makes it again.
func TestPublishWhileTheFolderIsRemoved(t *testing.T) {
	c, p := newCache(t)
	img := draw(1, 0)
	img.mustPublish(t, c, p)
	parent := filepath.Dir(c.ImagePath(img.id))
	unlock, err := c.lockImage(t.Context(), img.id, unix.LOCK_EX)
	must(t, err)
	j := job{Do: "publish", Dir: filepath.Dir(c.containers), Seed: 1, Count: 1}
	waits := make(chan struct{})
	var once sync.Once
	cmd := j.command(t)
	w := calls.Start(t, cmd, func(call calls.Call) calls.Verdict {
		if call.Name == "flock" && strings.HasSuffix(call.Path, img.id.Encoded()) {
			once.Do(func() { close(waits) })
		}
		return calls.Continue
	}, "flock")
	<-waits
	must(t, os.RemoveAll(parent))
	unlock()
	must(t, w.Wait())
	must(t, img.check(c))
}
