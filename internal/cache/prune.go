package cache

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// Swept is what was removed from the pool.
type Swept struct {
	Unused  []Stored // blobs that had no name but that in the pool
	Partial []Stored // downloads that nobody went on with
}

// Sweep removes from the pool the blobs that no image has, and the parts of blobs to which nobody wrote
// since before. For that it must have the pool alone: as long as another process uses it, which may rely
// on a blob that it saw there, it waits until ctx ends, and then the error is ErrInUse, wrapped.
func (c *Cache) Sweep(ctx context.Context, before time.Time) (swept Swept, err error) {
	root, err := c.openPool()
	if isAbsent(err) { // nobody has opened a pool here
		return swept, nil
	}
	if err != nil {
		return swept, err
	}
	defer root.close()
	lock, err := root.openat(poolLock, os.O_RDWR, 0)
	if isAbsent(err) {
		return swept, nil
	}
	if err != nil {
		return swept, err
	}
	defer lock.Close()
	for err = flock(lock, unix.LOCK_EX|unix.LOCK_NB); err != nil; err = flock(lock, unix.LOCK_EX|unix.LOCK_NB) {
		if err != unix.EWOULDBLOCK {
			return swept, fmt.Errorf("lock the blob pool: %w", err)
		}
		select {
		case <-ctx.Done():
			return swept, fmt.Errorf("the pool is %w: %s fetches", ErrInUse, holder(lock))
		case <-time.After(lockPoll):
		}
	}
	if !root.is(lock, poolLock) {
		return swept, fmt.Errorf("the pool is %w: another process made it again", ErrInUse)
	}
	return swept, c.sweepPool(root, before, &swept)
}

// sweepPool is Sweep with the pool locked.
func (c *Cache) sweepPool(root *dir, before time.Time, swept *Swept) error {
	if staging, err := root.open("staging"); err == nil {
		sweep(staging, stagePrefix)
		staging.close()
	}
	pooled, err := c.Pooled()
	if err != nil {
		return err
	}
	if len(pooled) > 0 {
		blobs, err := root.openIn("blobs", "sha256")
		if err != nil {
			return err
		}
		defer blobs.close()
		for _, b := range pooled {
			if b.Links == 1 && blobs.remove(b.Digest.Encoded()) == nil {
				swept.Unused = append(swept.Unused, b)
			}
		}
	}
	parts, err := c.Partial()
	if err != nil || len(parts) == 0 {
		return err
	}
	partial, err := root.open("partial")
	if err != nil {
		return err
	}
	defer partial.close()
	for _, b := range parts {
		if b.Changed.Before(before) && partial.remove(b.Digest.Encoded()) == nil {
			swept.Partial = append(swept.Partial, b)
		}
	}
	return nil
}

// Tidy removes what processes that were killed left beside images and lists, and returns how many bytes of
// blobs came free. Directories without an image go if nothing happened to them since before.
func (c *Cache) Tidy(ctx context.Context, before time.Time) (freed int64, err error) {
	if files, err := c.openTop(filesDir); err == nil {
		sweep(files, replacePrefix)
	}
	containers, names, err := c.list(containersDir)
	if err != nil {
		return 0, fmt.Errorf("look for images: %w", err)
	}
	for _, n := range names {
		if isID(n) {
			freed += c.tidy(ctx, containers, digest.Digest(n), before)
		}
	}
	if containers != nil {
		c.tidyLocks(ctx, containers)
	}
	return freed, nil
}

// tidyLocks removes the locks of images that are gone.
func (c *Cache) tidyLocks(ctx context.Context, containers *dir) {
	locks, err := c.openLocks()
	if err != nil {
		return
	}
	defer locks.close()
	names, _ := locks.names() // the next run has what cannot be listed
	for _, n := range names {
		if !isBlobName(n) {
			continue
		}
		id := digest.NewDigestFromEncoded(digest.SHA256, n)
		if unlock, err := c.lockImage(ctx, id, unix.LOCK_EX|unix.LOCK_NB); err == nil {
			if _, err := containers.stat(id.String()); isAbsent(err) {
				_ = locks.remove(n)
			}
			unlock()
		}
	}
}

func (c *Cache) tidy(ctx context.Context, containers *dir, id digest.Digest, before time.Time) (freed int64) {
	unlock, err := c.lockImage(ctx, id, unix.LOCK_EX|unix.LOCK_NB)
	if err != nil {
		return 0
	}
	defer unlock()
	parent, err := containers.open(id.String())
	if err != nil {
		return 0
	}
	defer parent.close()
	old, err := parent.f.Stat()
	if err != nil {
		return 0
	}
	eachDead(parent, stagePrefix, func(name string) {
		freed += parent.freed(name)
		_ = parent.removeAll(name)
	})
	if _, err := parent.stat(imageDir); isAbsent(err) && old.ModTime().Before(before) {
		for _, name := range []string{listFile, originFile} {
			_ = parent.remove(name)
		}
		if containers.rmdir(id.String()) == nil {
			c.dropLock(id)
		}
	}
	return freed
}
