package cache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"osbuild-containers/test/calls"
)

// Whatever another user made below the cache, or can change, is an error that names it, for those who write and for
// those who read, and nothing outside is touched.
func TestWhatAnotherUserCanChangeIsRefused(t *testing.T) {
	needRoot(t)
	spoil := map[string]func(path, outside string) error{
		"of another user": func(path, _ string) error { return os.Chown(path, 1234, 0) },
		"open to all":     func(path, _ string) error { return os.Chmod(path, 0o777) },
		"open to a group": func(path, _ string) error {
			return errors.Join(os.Chown(path, 0, 1234), os.Chmod(path, 0o775))
		},
		"a link": func(path, outside string) error {
			return errors.Join(os.Rename(path, path+".away"), os.Symlink(outside, path))
		},
	}
	img := draw(1, 0)
	for _, where := range []string{
		"", containersDir, containersDir + "/.pool", containersDir + "/.pool/blobs", containersDir + "/.pool/staging", containersDir + "/.pool/partial",
		containersDir + "/.pool/locks", containersDir + "/" + img.id.String(), containersDir + "/" + img.id.String() + "/image",
		containersDir + "/" + img.id.String() + "/image/manifest.json",
	} {
		for name, do := range spoil {
			if name == "a link" && (where == "" || filepath.Base(where) == manifestFile) { // the path to a cache may run through links; a file is damaged
				continue
			}
			t.Run(where+" "+name, func(t *testing.T) {
				c, p := newCache(t)
				img.mustPublish(t, c, p)
				must(t, p.Close())
				root := filepath.Dir(c.containers)
				outside := filepath.Join(memoryDir(t), "outside")
				writeTest(t, filepath.Join(outside, "image-123", "precious"), nil)
				path := filepath.Join(root, where)
				must(t, do(path, outside))
				c = Open(root)
				p, err := c.OpenPool(t.Context())
				if err == nil {
					err = img.publish(c, p)
					p.Close()
				}
				if !errors.Is(err, ErrForeign) || !strings.Contains(err.Error(), path+" ") {
					t.Errorf("publishing: got %v", err)
				}
				if err := c.Check(img.id); !strings.Contains(where, ".pool") && !errors.Is(err, ErrForeign) {
					t.Errorf("reading: got %v", err)
				}
				if _, err := os.Stat(filepath.Join(outside, "image-123", "precious")); err != nil {
					t.Errorf("outside: %v", err)
				}
			})
		}
	}
}

// Root's and the user's own caches are used, in whichever way they were made.
func TestWhatIsTheUsersOwnIsUsed(t *testing.T) {
	for name, arrange := range map[string]func(t *testing.T, dir string) string{
		"by umask 002": func(t *testing.T, dir string) string {
			must(t, os.MkdirAll(filepath.Join(dir, containersDir), 0o775))
			must(t, errors.Join(os.Chmod(dir, 0o775), os.Chmod(filepath.Join(dir, containersDir), 0o775)))
			return dir
		},
		"in a shared directory": func(t *testing.T, dir string) string {
			must(t, errors.Join(os.MkdirAll(dir, 0o755), os.Chmod(dir, 0o777|os.ModeSticky)))
			return dir
		},
		"by a link": func(t *testing.T, dir string) string {
			must(t, errors.Join(os.MkdirAll(dir, 0o755), os.Symlink(dir, dir+".link")))
			return dir + ".link"
		},
		"by an earlier version": func(t *testing.T, dir string) string {
			for _, name := range []string{"blobs/sha256", "partial", "staging"} {
				must(t, os.MkdirAll(filepath.Join(dir, containersDir, poolDir, name), 0o755))
			}
			writeTest(t, filepath.Join(dir, containersDir, poolDir, poolLock), nil)
			return dir
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := arrange(t, filepath.Join(memoryDir(t), "cache"))
			c, p := openCache(t, dir)
			draw(1, 0).mustPublish(t, c, p)
			pool := filepath.Join(c.containers, poolDir)
			if modeOf(t, pool) != privateMode || modeOf(t, filepath.Join(pool, poolLock)) != lockMode {
				t.Error("others can take the locks of the pool")
			}
		})
	}
}

// A wait ends after the limit, with an error that names the lock and its holder, and is told of before.
func TestWaitsAreBounded(t *testing.T) {
	img := draw(1, 0)
	for name, hold := range map[string]func(t *testing.T, c *Cache, p *Pool) error{
		"the pool": func(_ *testing.T, _ *Cache, p *Pool) error { return flock(p.use, unix.LOCK_EX) },
		"image": func(t *testing.T, c *Cache, _ *Pool) error {
			unlock, err := c.lockImage(t.Context(), img.id, unix.LOCK_EX)
			if err == nil {
				t.Cleanup(unlock)
			}
			return err
		},
		"blob": func(t *testing.T, _ *Cache, p *Pool) error {
			f, err := p.openPartial(img.id.Encoded())
			if err == nil {
				err = flock(f, unix.LOCK_EX)
				t.Cleanup(func() { f.Close() })
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			held, p := newCache(t)
			must(t, hold(t, held, p))
			c := Open(filepath.Dir(held.containers))
			c.Limit = noteAfter + 100*time.Millisecond
			said := ""
			c.Note = func(format string, args ...any) { said += fmt.Sprintf(format, args...) }
			q, err := c.OpenPool(t.Context())
			if err == nil {
				err = img.publish(c, q)
				q.Close()
			}
			who := fmt.Sprintf("process %d (cache.test, user %d)", os.Getpid(), os.Geteuid())
			for _, text := range []string{said, fmt.Sprint(err)} {
				if !strings.Contains(text, who) || !strings.Contains(text, strings.TrimPrefix(name, "the ")) {
					t.Errorf("%q does not say what is waited for, held by %s", text, who)
				}
			}
			if !errors.Is(err, ErrInUse) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// An image, or a list, whose publisher was stopped before it synced the name is not relied on: the lock is waited
// for, and both directories are synced. One that is old costs nothing.
func TestSyncOfAYoungName(t *testing.T) {
	img, list := draw(1, 0), allList(0)
	for name, at := range map[string]func(c *Cache) (path string, sync func(context.Context) error){
		"image": func(c *Cache) (string, func(context.Context) error) {
			return filepath.Dir(c.ImagePath(img.id)), func(ctx context.Context) error { return c.Sync(ctx, []digest.Digest{img.id}, nil)[img.id] }
		},
		"list": func(c *Cache) (string, func(context.Context) error) {
			return c.files, func(ctx context.Context) error {
				d := descriptor(list).Digest
				return c.Sync(ctx, nil, []digest.Digest{d})[d]
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(memoryDir(t), "cache")
			c := Open(dir)
			path, sync := at(c)
			stopped, released := make(chan struct{}), make(chan struct{})
			seen := false
			j := job{Do: "all", Dir: dir, Seed: 1}
			w := calls.Start(t, j.command(t), func(call calls.Call) calls.Verdict {
				if _, err := os.Lstat(c.ImagePath(img.id)); !seen && call.Path == path && err == nil {
					seen = true
					close(stopped)
					<-released
				}
				return calls.Continue
			}, "fsync")
			<-stopped // the name is there, and not on disk
			ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, errors.New("waited"))
			defer cancel()
			if err := sync(ctx); err == nil || err.Error() != "waited" {
				t.Errorf("while the publisher is stopped: %v", err)
			}
			close(released)
			must(t, w.Wait())
			must(t, sync(t.Context()))
		})
	}
}

// Of many recent names that are syncd together, one whose publisher has its lock is an error, and the others are not.
func TestSyncOfManyYoungNames(t *testing.T) {
	c, p := newCache(t)
	var ids []digest.Digest
	for seed := range uint64(manyNames + 1) {
		img := draw(seed+1, 0)
		img.mustPublish(t, c, p)
		ids = append(ids, img.id)
	}
	unlock, err := c.lockImage(t.Context(), ids[3], unix.LOCK_EX)
	must(t, err)
	defer unlock()
	held := Open(filepath.Dir(c.containers))
	held.Limit = time.Millisecond
	errs := held.Sync(t.Context(), append(ids, descriptor([]byte("gone")).Digest), nil)
	if len(errs) != 1 || !errors.Is(errs[ids[3]], ErrInUse) {
		t.Errorf("got %v", errs)
	}
}

// The limit is that of the call, not of each name: of many names that are being published the first alone is waited for.
func TestSyncHasOneLimit(t *testing.T) {
	c, p := newCache(t)
	var ids []digest.Digest
	for seed := range uint64(50) {
		img := draw(seed+1, 0)
		img.mustPublish(t, c, p)
		unlock, err := c.lockImage(t.Context(), img.id, unix.LOCK_EX)
		must(t, err)
		defer unlock()
		ids = append(ids, img.id)
	}
	waits := Open(filepath.Dir(c.containers))
	waits.Limit = 400 * time.Millisecond
	began := time.Now()
	errs := waits.Sync(t.Context(), ids, nil)
	if took := time.Since(began); took > time.Duration(len(ids)/2)*waits.Limit {
		t.Errorf("it took %s, the limit is %s", took, waits.Limit)
	}
	for _, id := range ids {
		if !errors.Is(errs[id], ErrInUse) {
			t.Errorf("image %s: got %v", id, errs[id])
		}
	}
}

// A list is neither removed nor recorded as used while another process has the lock of the lists: one that is found
// used is not removed, and one that is removed is not found.
func TestListsAreRemovedUnderTheirLock(t *testing.T) {
	c := Open(filepath.Join(memoryDir(t), "cache"))
	list := allList(0)
	d := descriptor(list).Digest
	must(t, c.PublishFile(t.Context(), d, list))
	old := time.Now().Add(-2 * useGrain)
	must(t, os.Chtimes(c.FilePath(d), old, old))
	was, err := c.Files()
	must(t, err)
	unlock, err := c.lockLists(t.Context())
	must(t, err)
	c.Limit = time.Millisecond
	c.UseFile(t.Context(), d)
	if removed, err := c.RemoveFile(t.Context(), was[0]); removed || !errors.Is(err, ErrInUse) {
		t.Errorf("while another process has the lock: removed %t, %v", removed, err)
	}
	if now, err := c.Files(); err != nil || len(now) != 1 || now[0] != was[0] {
		t.Errorf("the list is %+v, want %+v; %v", now, was, err)
	}
	unlock()
	c.UseFile(t.Context(), d)
	if removed, err := c.RemoveFile(t.Context(), was[0]); removed || err != nil {
		t.Errorf("a list that was used: removed %t, %v", removed, err)
	}
	if was, err = c.Files(); err != nil || len(was) != 1 {
		t.Fatalf("the list is gone: %v", err)
	}
	if removed, err := c.RemoveFile(t.Context(), was[0]); !removed || err != nil {
		t.Errorf("removed %t, %v", removed, err)
	}
}

// A cache that has nothing but manifest lists has their lock, closed to others, too.
func TestListsHaveALockWithoutAPool(t *testing.T) {
	c := Open(filepath.Join(memoryDir(t), "cache"))
	list := allList(0)
	d := descriptor(list).Digest
	must(t, c.PublishFile(t.Context(), d, list))
	pool := filepath.Join(c.containers, poolDir)
	if modeOf(t, pool) != privateMode || modeOf(t, filepath.Join(pool, locksDir, listsLock)) != lockMode {
		t.Error("others can take the lock")
	}
	unlock, err := c.lockLists(t.Context())
	must(t, err)
	defer unlock()
	c.Limit = time.Millisecond
	if err := c.Sync(t.Context(), nil, []digest.Digest{d})[d]; !errors.Is(err, ErrInUse) {
		t.Errorf("while it is being published: %v", err)
	}
}
