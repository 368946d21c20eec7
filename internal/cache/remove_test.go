package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"osbuild-containers/test/calls"
)

func anyImage(*Published) bool { return true }

// future is a time before which all was touched.
func future() time.Time { return time.Now().Add(time.Hour) }

// sweepNow is Sweep that does not wait.
func sweepNow(c *Cache, before time.Time) (Swept, error) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return c.Sweep(ctx, before)
}

func TestRemoveAndSweep(t *testing.T) {
	c, p := newCache(t)
	one, two := draw(1, 0), draw(2, 0)
	two.Blobs[1], two.content[1] = one.Blobs[1], one.content[1] // shared
	one.List, one.Origins = []byte("list"), allOrigins(0)
	one.mustPublish(t, c, p)
	two.mustPublish(t, c, p)
	loose := content(9, 77)
	must(t, put(p, loose))

	freed, err := c.Remove(one.id, anyImage)
	if err != nil || freed != 0 { // the pool has all of it
		t.Fatalf("freed %d, %v", freed, err)
	}
	if _, err := os.Lstat(filepath.Dir(c.ImagePath(one.id))); !isAbsent(err) {
		t.Errorf("the image's folder is there: %v", err)
	}
	must(t, two.check(c))
	if _, err := sweepNow(c, future()); !errors.Is(err, ErrInUse) {
		t.Fatalf("the pool is open and was swept: %v", err)
	}
	must(t, p.Close())
	swept, err := sweepNow(c, future())
	must(t, err)
	var bytes int64
	for _, b := range swept.Unused {
		bytes += b.Size
	}
	if want := one.Blobs[0].Size + one.Blobs[2].Size + 77; len(swept.Unused) != 3 || bytes != want {
		t.Errorf("%d blobs with %d bytes were removed, want 3 with %d", len(swept.Unused), bytes, want)
	}
	must(t, two.check(c))
	pooled, err := c.Pooled()
	must(t, err)
	if len(pooled) != 3 {
		t.Errorf("the pool has %d blobs, want those of the image that is left", len(pooled))
	}
	if _, err := c.Remove(one.id, anyImage); !isAbsent(err) {
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
	if freed, err := c.Remove(img.id, anyImage); err != nil || freed != want {
		t.Errorf("freed %d, %v, want %d", freed, err, want)
	}
	if swept, err := sweepNow(c, future()); err != nil || len(swept.Unused) > 0 {
		t.Errorf("%v, %v", swept, err)
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
		writeTest(t, filepath.Join(p.partial, descriptor(b).Digest.Encoded()), b)
	}
	at := time.Now().Add(-time.Hour)
	must(t, os.Chtimes(filepath.Join(p.partial, descriptor(old).Digest.Encoded()), at, at))
	swept, err := sweepNow(c, at.Add(time.Minute))
	must(t, err)
	if len(swept.Partial) != 1 || swept.Partial[0].Size != 50 {
		t.Errorf("removed: %v", swept.Partial)
	}
	if left, err := c.Partial(); err != nil || len(left) != 1 {
		t.Errorf("left: %v, %v", left, err)
	}
}

// Whoever uses an image keeps it.
func TestRemoveLeavesWhatIsInUse(t *testing.T) {
	for name, hold := range map[string]func(t *testing.T, c *Cache, img picture) (release func()){
		"held by a reader": func(t *testing.T, c *Cache, img picture) func() {
			pub, err := c.Look(img.id)
			must(t, err)
			t.Cleanup(pub.Close)
			release, err := pub.Hold()
			must(t, err)
			return release
		},
		"being published": func(t *testing.T, c *Cache, img picture) func() {
			unlock, err := lockDir(filepath.Dir(c.ImagePath(img.id)))
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
		"used since it was looked at": func(*testing.T, *Cache, picture) func() { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			c, p := newCache(t)
			img := draw(1, 0)
			img.mustPublish(t, c, p)
			release := hold(t, c, img)
			same := func(*Published) bool { return release != nil }
			if _, err := c.Remove(img.id, same); !errors.Is(err, ErrInUse) {
				t.Fatalf("got %v, want that it is in use", err)
			}
			must(t, img.check(c))
			wantNothingLeft(t, c)
			if release != nil {
				release()
			}
			_, err := c.Remove(img.id, anyImage)
			must(t, err)
		})
	}
}

// A reader that was too late to hold an image is told, also if it was replaced.
func TestHoldOfWhatIsGone(t *testing.T) {
	c, p := newCache(t)
	draw(1, 0).mustPublish(t, c, p)
	pub, err := c.Look(draw(1, 0).id)
	must(t, err)
	defer pub.Close()
	draw(1, 1).mustPublish(t, c, p)
	if _, err := pub.Hold(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("replaced: %v", err)
	}
}

// A process that waits for the lock of a folder that is removed meanwhile makes it again.
func TestPublishWhileTheFolderIsRemoved(t *testing.T) {
	c, p := newCache(t)
	img := draw(1, 0)
	img.mustPublish(t, c, p)
	parent := filepath.Dir(c.ImagePath(img.id))
	unlock, err := lockDir(parent)
	must(t, err)
	j := job{Do: "publish", Dir: filepath.Dir(c.containers), Seed: 1, Count: 1}
	waits := make(chan struct{})
	cmd := j.command(t)
	w := calls.Start(t, cmd, func(call calls.Call) calls.Verdict {
		if call.Name == "flock" && waits != nil {
			var st unix.Stat_t
			if strings.HasSuffix(call.Path, img.id.String()) && unix.Stat(parent, &st) == nil {
				close(waits)
				waits = nil
			}
		}
		return calls.Continue
	}, "flock")
	<-waits
	must(t, os.RemoveAll(parent))
	unlock()
	must(t, w.Wait())
	must(t, img.check(c))
}

func TestLockHost(t *testing.T) {
	store := t.TempDir()
	c := Open(filepath.Join(store, "sources"))
	unlock, err := c.LockHost() // there is neither cache nor osbuild
	must(t, err)
	unlock()
	must(t, os.Mkdir(filepath.Join(store, "sources"), 0o755))
	unlock, err = c.LockHost()
	must(t, err)
	unlock()
	path := filepath.Join(store, hostLock)
	writeTest(t, path, nil)
	read := func() *os.File { // as osbuild does
		f, err := os.Open(path)
		must(t, err)
		t.Cleanup(func() { f.Close() })
		return f
	}
	osbuild := read()
	lock := func(f *os.File) error {
		return unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_RDLCK})
	}
	must(t, lock(osbuild))
	if _, err := c.LockHost(); !errors.Is(err, ErrInUse) {
		t.Errorf("osbuild runs: %v", err)
	}
	osbuild.Close()
	unlock, err = c.LockHost()
	must(t, err)
	if lock(read()) == nil {
		t.Error("osbuild got its lock although we have it")
	}
	unlock()
	must(t, lock(read()))
}

func TestUseIsNotedOnceInAnHour(t *testing.T) {
	c, p := newCache(t)
	img := draw(1, 0)
	img.mustPublish(t, c, p)
	pub, err := c.Look(img.id)
	must(t, err)
	defer pub.Close()
	path := filepath.Join(pub.Path(), versionFile)
	at := time.Now().Add(-useGrain / 2).Truncate(time.Second)
	must(t, os.Chtimes(path, at, at))
	must(t, os.Chtimes(pub.Path(), at, at))
	pub.Use()
	if got := pub.Used(); !got.Equal(at) {
		t.Errorf("used at %s, want %s", got, at)
	}
	at = at.Add(-useGrain)
	must(t, os.Chtimes(path, at, at))
	must(t, pub.CheckVersion()) // which is no use
	if got := pub.Used(); !got.Equal(at.Add(useGrain)) {
		t.Errorf("used at %s, want when it was published", got)
	}
	pub.Use()
	if got := time.Since(pub.Used()); got > time.Minute {
		t.Errorf("used %s ago", got)
	}
	fi, err := os.Stat(path)
	must(t, err)
	if !fi.ModTime().Equal(at) {
		t.Error("the file counts as changed")
	}
}

func TestDiscard(t *testing.T) {
	c, p := newCache(t)
	good, flipped, short := content(1, 300), content(2, 300), content(3, 300)
	for _, b := range [][]byte{good, flipped, short} {
		must(t, put(p, b))
	}
	wrong := append([]byte(nil), flipped...)
	wrong[7] ^= 1
	writeTest(t, p.path(descriptor(flipped).Digest), wrong)
	must(t, os.Truncate(p.path(descriptor(short).Digest), 10))
	for _, b := range [][]byte{good, flipped, short, content(4, 1)} {
		must(t, p.Discard(context.Background(), descriptor(b).Digest))
	}
	if left, err := c.Pooled(); err != nil || len(left) != 1 || left[0].Digest != descriptor(good).Digest {
		t.Errorf("left: %v, %v", left, err)
	}
	wantNothingLeft(t, c)
	// What another process brings meanwhile is waited for, and stays.
	b := content(5, 30_000)
	j := job{Do: "hold", Dir: filepath.Dir(c.containers), Seed: 5, Size: len(b)}
	first := j.start(t)
	first.says("holding from 0")
	done := make(chan error, 1)
	go func() { done <- p.Discard(context.Background(), descriptor(b).Digest) }()
	first.goOn()
	first.says("done")
	must(t, <-done)
	if string(pooled(p, b)) != string(b) {
		t.Error("the blob that was brought was discarded")
	}
}

// collect removes all there is, in the order of gc.
func (j *job) collect() error {
	c := Open(j.Dir)
	ids, err := c.Images()
	if err != nil {
		return err
	}
	for _, id := range ids {
		if _, err := c.Remove(id, anyImage); err != nil {
			return err
		}
	}
	if _, err := c.Tidy(future()); err != nil {
		return err
	}
	_, err = sweepNow(c, future())
	return err
}

// Killed anywhere, gc leaves each image complete or away, and the next run has nothing to step over.
func TestRemoveIsKilledAnywhere(t *testing.T) {
	for n := 1; ; n += 1 + rand.IntN(2) {
		c, p := newCache(t)
		one, two := draw(1, 0), draw(2, 0)
		one.Origins, one.List = allOrigins(0), allList(0)
		one.mustPublish(t, c, p)
		two.mustPublish(t, c, p)
		must(t, p.Close())
		j := job{Do: "collect", Dir: filepath.Dir(c.containers)}
		seen := 0
		killed := ""
		out, _ := j.watch(t, func(call calls.Call) calls.Verdict {
			if seen++; seen == n {
				killed = call.String()
				return calls.Kill
			}
			return calls.Continue
		}, calls.Changing...)
		if killed == "" {
			if n < 20 {
				t.Errorf("only %d calls: %s", seen, out)
			}
			return
		}
		for _, img := range []picture{one, two} {
			if _, err := os.Lstat(c.ImagePath(img.id)); err == nil {
				if err := img.check(c); err != nil {
					t.Fatalf("killed before %s: %v", killed, err)
				}
			}
		}
		must(t, j.collect())
		if left := allFiles(c.containers); len(left) > 1 { // the lock
			t.Fatalf("killed before %s, then run again: left are %q", killed, left)
		}
	}
}

func allFiles(dir string) (files []string) {
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			files = append(files, path)
		}
		return nil
	})
	return files
}

// Fetching and collecting in turn at the same time, killed now and then, nobody sees half an image, and
// whoever publishes succeeds.
func TestPublishAndRemoveAtTheSameTime(t *testing.T) {
	c, _ := newCache(t)
	dir := filepath.Dir(c.containers)
	stop := make(chan struct{})
	collected := make(chan error, 1)
	go func() {
		j := job{Do: "collect", Dir: dir}
		for n := 0; ; n++ {
			select {
			case <-stop:
				collected <- nil
				return
			default:
			}
			p := j.start(t)
			if n%2 == 1 {
				p.kill()
				continue
			}
			for line := range p.lines {
				if strings.HasPrefix(line, "error") && !strings.Contains(line, "in use") && !strings.Contains(line, "no such file") {
					collected <- errors.New(line)
					return
				}
			}
			_ = p.cmd.Wait()
		}
	}()
	for n := range 6 {
		if out, err := (job{Do: "publish", Dir: dir, Seed: uint64(1 + n%2), Count: 8}).run(t); err != nil {
			t.Errorf("publish: %v: %s", err, out)
		}
		for seed := range uint64(2) {
			img := draw(1+seed, 1)
			pub, err := c.Look(img.id)
			if err != nil {
				continue
			}
			if release, err := pub.Hold(); err == nil {
				if err := img.check(c); err != nil && draw(1+seed, 0).check(c) != nil {
					t.Error(fmt.Errorf("held image: %w", err))
				}
				release()
			}
			pub.Close()
		}
	}
	close(stop)
	if err := <-collected; err != nil {
		t.Errorf("collect: %v", err)
	}
}
