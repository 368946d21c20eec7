package cache

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// Pruned describes the files that Prune removed.
type Pruned struct {
	Unused  []Stored // blobs without another name
	Partial []Stored // abandoned downloads
}

// Prune removes blobs that no image uses, and partial blobs not written to since before, from the pool. It locks the
// whole pool, because other processes may rely on blobs that they found in it. It waits for them until ctx ends; the
// error then wraps ErrInUse.
func (c *Cache) Prune(ctx context.Context, before time.Time) (pruned Pruned, err error) {
	root, err := c.openPool()
	if isAbsent(err) { // there is no pool
		return pruned, nil
	}
	if err != nil {
		return pruned, err
	}
	defer root.close()
	lock, err := root.openat(poolLock, os.O_RDWR, 0)
	if isAbsent(err) {
		return pruned, nil
	}
	if err != nil {
		return pruned, err
	}
	defer lock.Close()
	for err = flock(lock, unix.LOCK_EX|unix.LOCK_NB); err != nil; err = flock(lock, unix.LOCK_EX|unix.LOCK_NB) {
		if err != unix.EWOULDBLOCK {
			return pruned, fmt.Errorf("lock the blob pool: %w", err)
		}
		select {
		case <-ctx.Done():
			return pruned, fmt.Errorf("the pool is %w: %s fetches", ErrInUse, holder(lock))
		case <-time.After(lockPoll):
		}
	}
	if !root.is(lock, poolLock) {
		return pruned, fmt.Errorf("the pool is %w: it was recreated by another process", ErrInUse)
	}
	return pruned, c.prunePool(root, before, &pruned)
}

// prunePool does the work of Prune. The caller has locked the pool.
func (c *Cache) prunePool(root *dir, before time.Time, pruned *Pruned) error {
	if staging, err := root.open("staging"); err == nil {
		removeDead(staging, stagePrefix)
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
				pruned.Unused = append(pruned.Unused, b)
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
			pruned.Partial = append(pruned.Partial, b)
		}
	}
	return nil
}

// RemoveStale removes files that killed processes left next to images and lists, and returns the number of bytes
// freed. Directories without an image are removed if they were not changed since before.
func (c *Cache) RemoveStale(ctx context.Context, before time.Time) (freed int64, err error) {
	if files, err := c.openTop(filesDir); err == nil {
		removeDead(files, replacePrefix)
	}
	containers, names, err := c.list(containersDir)
	if err != nil {
		return 0, fmt.Errorf("list images: %w", err)
	}
	for _, n := range names {
		if isID(n) {
			freed += c.removeStale(ctx, containers, digest.Digest(n), before)
		}
	}
	if containers != nil {
		c.removeStaleLocks(ctx, containers)
	}
	return freed, nil
}

// removeStaleLocks removes the lock files of images that do not exist.
func (c *Cache) removeStaleLocks(ctx context.Context, containers *dir) {
	locks, err := c.openLocks()
	if err != nil {
		return
	}
	defer locks.close()
	names, _ := locks.names() // if this fails, the next run does it
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

func (c *Cache) removeStale(ctx context.Context, containers *dir, id digest.Digest, before time.Time) (freed int64) {
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
		_ = removeSchema1(parent, nil)
		if containers.rmdir(id.String()) == nil {
			c.dropLock(id)
		}
	}
	return freed
}
