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

// Locks are flock(2) on files that only the owner of the cache can open, so that a user who may read
// the cache cannot take one. The directory of the pool, in which they are, is closed to other users for that. Waits
// are polls, since flock(2) knows no time limit.

// lockPoll is how often a lock that another process has is tried again.
const lockPoll = 20 * time.Millisecond

// noteAfter is how long a wait is before it is told of.
const noteAfter = 500 * time.Millisecond

// defaultLimit is the longest wait for a lock where Cache.Limit is 0.
const defaultLimit = 5 * time.Minute

// flock takes a lock that the kernel releases when f is closed or its process dies.
func flock(f *os.File, how int) error {
	for {
		err := unix.Flock(int(f.Fd()), how)
		if err != unix.EINTR {
			return err
		}
	}
}

// waiter waits for locks of other processes, for no longer than Cache.Limit in all.
type waiter struct {
	cache *Cache
	what  string // that is waited for
	began time.Time
	since time.Time // of the limit
	noted bool
}

func (c *Cache) waitFor(what string) *waiter {
	now := time.Now()
	return &waiter{cache: c, what: what, began: now, since: now}
}

// next continues with another lock, within the same limit.
func (w *waiter) next(what string) *waiter {
	w.what, w.noted = what, false
	return w
}

// pause waits until f, which another process has locked, is to be tried again. After the limit it returns ErrInUse.
func (w *waiter) pause(ctx context.Context, f *os.File) error {
	limit := w.cache.Limit
	if limit <= 0 {
		limit = defaultLimit
	}
	if time.Since(w.since) >= limit {
		return fmt.Errorf("%w: waited %s for %s, held by %s", ErrInUse, time.Since(w.began).Round(time.Second/10), w.what, holder(f))
	}
	if !w.noted && time.Since(w.began) >= noteAfter && w.cache.Note != nil {
		w.noted = true
		w.cache.Note("waiting for %s, held by %s", w.what, holder(f))
	}
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(lockPoll):
		return nil
	}
}

// progressed begins the limit again: the holder of the lock makes progress.
func (w *waiter) progressed() { w.since = time.Now() }

// lock locks an open file, waiting for the process that has it.
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

// locksDir is the directory of the pool in which the locks of images are.
const locksDir = "locks"

// The lock of the manifest lists, and what it is called in messages.
const (
	listsLock     = "lists"
	listsLockName = "the manifest lists of the cache"
)

// lockImage locks the publishing of an image, waiting for the process that has it. It needs a directory of locks,
// which the pool makes: without one nothing publishes, and without the right to it this process does not.
func (c *Cache) lockImage(ctx context.Context, id digest.Digest, how int) (unlock func(), err error) {
	return c.waitFor(imageLock(id)).lockNamed(ctx, id.Encoded(), how)
}

// imageLock is what the lock of an image is called in messages.
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
	for {
		var f *os.File
		if how&unix.LOCK_SH != 0 { // nothing to wait for if no process published since the locks were made
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

// dropLock removes the lock of an image that is gone. The caller has it.
func (c *Cache) dropLock(id digest.Digest) {
	if locks, err := c.openLocks(); err == nil {
		_ = locks.remove(id.Encoded())
		locks.close()
	}
}

// makeLocks makes the directory of locks where no pool was opened yet. Who may not make it has no locks.
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

// holder names the processes that have a lock on the file, as far as they can be seen.
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

// holders returns the processes that /proc/locks says have locked a file. Its lines are
// "1: FLOCK  ADVISORY  WRITE 708 00:1a:4711 0 EOF", device and inode after the process; btrfs has a device of its own
// there, so that the inode alone decides where the device is that of none.
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
