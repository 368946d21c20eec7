package cache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// Locks are flock(2) on files that only the owner of the cache can open: users who can merely read the cache cannot
// block it. For that, the pool's directory, which contains them, is closed to other users. Waiting is done by
// polling, since flock(2) has no timeout.

// lockPoll is the interval between attempts to get a lock that another process holds.
const lockPoll = 20 * time.Millisecond

// noteAfter is the length of a wait after which it is reported.
const noteAfter = 500 * time.Millisecond

// defaultLimit is the longest wait for a lock if Cache.Limit is zero.
const defaultLimit = 5 * time.Minute

// flock takes a lock, which the kernel releases when f is closed or the process dies.
func flock(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how)
		if err != unix.EINTR {
			return err
		}
	}
}

// waiter waits for locks of other processes, for Cache.Limit in total.
type waiter struct {
	cache *Cache
	what  string // the lock, in messages
	began time.Time
	since time.Time // start of the limit
	noted bool
}

func (c *Cache) waitFor(what string) *waiter {
	now := time.Now()
	return &waiter{cache: c, what: what, began: now, since: now}
}

// next reuses the waiter for another lock; the limit continues.
func (w *waiter) next(what string) *waiter {
	w.what, w.noted = what, false
	return w
}

// pause waits until the next attempt to lock f, which another process has locked. After the limit it returns
// ErrInUse.
func (w *waiter) pause(ctx context.Context, f *os.File) error {
	limit := w.cache.Limit
	if limit <= 0 {
		limit = defaultLimit
	}
	if !w.noted && time.Since(w.began) >= noteAfter && w.cache.Note != nil {
		w.noted = true
		w.cache.Note("waiting for %s, held by %s", w.what, holder(f))
	}
	if time.Since(w.since) >= limit {
		return fmt.Errorf("%w: waited %s for %s, held by %s", ErrInUse, time.Since(w.began).Round(time.Second/10), w.what, holder(f))
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(lockPoll):
		return nil
	}
}

// progressed restarts the limit, because the holder of the lock makes progress.
func (w *waiter) progressed() { w.since = time.Now() }

// lock locks an open file, waiting for another process to release it.
func (w *waiter) lock(ctx context.Context, f *os.File, how int) error {
	for {
		err := flock(f, how|unix.LOCK_NB)
		if err != unix.EWOULDBLOCK {
			return err
		}
		if err := w.pause(ctx, f); err != nil {
			return err
		}
	}
}

// locksDir is the directory of the pool that contains the locks of images.
const locksDir = "locks"

// The lock file of the manifest lists, and its name in messages.
const (
	listsLock     = "lists"
	listsLockName = "the manifest lists of the cache"
)

// lockImage locks an image for publishing, waiting for its holder. It needs the directory of locks, which is created
// with the pool. If that is missing, no process publishes; if it cannot be opened, this process cannot publish.
func (c *Cache) lockImage(ctx context.Context, id digest.Digest, how int) (unlock func(), err error) {
	return c.waitFor(imageLock(id)).lockNamed(ctx, id.Encoded(), how)
}

// imageLock returns the name of an image's lock in messages.
func imageLock(id digest.Digest) string { return "image " + id.String() }

// lockLists locks the publishing and removal of manifest lists.
func (c *Cache) lockLists(ctx context.Context) (unlock func(), err error) {
	return c.waitFor(listsLockName).lockNamed(ctx, listsLock, unix.LOCK_EX)
}

// lockNamed locks the file with that name in the directory of locks. With LOCK_NB it does not wait.
func (w *waiter) lockNamed(ctx context.Context, name string, how int) (unlock func(), err error) {
	locks, err := w.cache.openLocks()
	if isAbsent(err) || errors.Is(err, unix.EACCES) {
		return func() {}, nil
	}
	if err != nil {
		return nil, err
	}
	defer locks.close()
	return w.lockIn(ctx, locks, name, how)
}

// lockIn is like lockNamed, in the open directory of locks.
func (w *waiter) lockIn(ctx context.Context, locks *dir, name string, how int) (unlock func(), err error) {
	for {
		var f *os.File
		if how&unix.LOCK_SH != 0 { // no lock file: no process has published since the directory of locks was created
			f, err = locks.openat(name, unix.O_RDONLY, 0)
		} else {
			f, err = locks.openat(name, unix.O_RDWR|unix.O_CREAT, lockMode)
		}
		if isAbsent(err) && how&unix.LOCK_SH != 0 {
			return func() {}, nil
		}
		if err != nil {
			return nil, err
		}
		if how&unix.LOCK_NB != 0 {
			err = flock(f, how)
		} else {
			err = w.lock(ctx, f, how)
		}
		if err == nil && locks.is(f, name) {
			return func() { f.Close() }, nil
		}
		if err == unix.EWOULDBLOCK {
			err = fmt.Errorf("%w: %s publishes it%.0w", ErrInUse, holder(f), err)
		}
		f.Close()
		if err != nil {
			return nil, err
		}
	}
}

// dropLock removes the lock file of an image that was removed. The caller holds the lock.
func (c *Cache) dropLock(id digest.Digest) {
	if locks, err := c.openLocks(); err == nil {
		_ = locks.remove(id.Encoded())
		locks.close()
	}
}

// makeLocks creates the directory of locks if it is missing. Without permission to create it, no locks are used.
func (c *Cache) makeLocks() error {
	locks, err := c.openLocks()
	if isAbsent(err) {
		var containers, root *dir
		if containers, err = c.makeTop(containersDir); err == nil {
			root, err = makePool(containers)
		}
		if err == nil {
			locks, _, err = root.mkdir(locksDir, privateMode)
			root.close()
		}
	}
	if err == nil {
		locks.close()
	}
	if errors.Is(err, unix.EACCES) {
		return nil
	}
	return err
}

func (c *Cache) openLocks() (*dir, error) {
	containers, err := c.openTop(containersDir)
	if err != nil {
		return nil, err
	}
	return containers.openIn(poolDir, locksDir)
}

// holder names the processes that hold a lock on the file, if they are visible.
func holder(f *os.File) string {
	var st unix.Stat_t
	raw, err := os.ReadFile("/proc/locks")
	if err != nil || unix.Fstat(int(f.Fd()), &st) != nil {
		return "another process"
	}
	pids := holders(string(raw), &st)
	if len(pids) == 0 {
		return "a process that cannot be seen from here"
	}
	for n, pid := range pids {
		pids[n] = "process " + pid + describe(pid)
	}
	return strings.Join(pids, " and ")
}

// holders returns the processes that hold a lock on a file according to /proc/locks, whose lines have the device and
// inode after the process:
//
//	1: FLOCK  ADVISORY  WRITE 708 00:1a:4711 0 EOF
//
// On btrfs that device is an internal one. If no lock matches both, the inode alone decides.
func holders(locks string, st *unix.Stat_t) (pids []string) {
	device := fmt.Sprintf("%02x:%02x:", unix.Major(st.Dev), unix.Minor(st.Dev))
	inode := strconv.FormatUint(st.Ino, 10)
	var others []string
	for line := range strings.Lines(locks) {
		field := strings.Fields(line)
		if len(field) < 6 || field[1] != "FLOCK" || field[4] == "0" {
			continue
		}
		switch {
		case field[5] == device+inode:
			pids = append(pids, field[4])
		case strings.HasSuffix(field[5], ":"+inode):
			others = append(others, field[4])
		}
	}
	if len(pids) == 0 {
		return others
	}
	return pids
}

// describe returns the name and the user of a process.
func describe(pid string) string {
	name, err := os.ReadFile("/proc/" + pid + "/comm")
	var st unix.Stat_t
	if err != nil || unix.Stat("/proc/"+pid, &st) != nil {
		return ""
	}
	return fmt.Sprintf(" (%s, user %d)", strings.TrimSpace(string(name)), st.Uid)
}
