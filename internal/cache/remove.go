package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// ErrInUse says that another process uses what is to be removed.
var ErrInUse = errors.New("in use")

// errVersion is of a version file that says something else.
var errVersion = errors.New("not the version of a dir: image")

// Hold keeps Remove away from the image until release is called, or the process ends. Each user who may read the
// image can, and nothing waits for it: that much reading implies. The error is fs.ErrNotExist if what was opened
// is not published any more.
func (p *Published) Hold() (release func(), err error) {
	f, err := p.image.openat(".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	if err = flock(f, unix.LOCK_SH|unix.LOCK_NB); err == unix.EWOULDBLOCK || err == nil && !p.parent.is(f, imageDir) {
		err = p.image.failed("lock", "", fs.ErrNotExist) // who has it alone removes it
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

// Remove takes the name from an image, in one step, and then deletes it; what it has in common with the
// pool and with other images stays. It returns how many bytes of blobs came free. The image must
// still be the one that was looked at, as same says. The error is ErrInUse, wrapped, if it is not, or if
// a process publishes, holds or has mounted it. What a Remove that was killed leaves has no name that
// anybody reads; Tidy, or whoever publishes the image, removes it.
func (c *Cache) Remove(ctx context.Context, id digest.Digest, same func(*Published) bool) (freed int64, err error) {
	unlock, err := c.lockImage(ctx, id, unix.LOCK_EX|unix.LOCK_NB)
	if err != nil {
		return 0, err
	}
	defer unlock()
	pub, err := c.Look(id)
	if err != nil {
		return 0, err
	}
	defer pub.Close()
	if !same(pub) {
		return 0, fmt.Errorf("%w: it was used or replaced just now", ErrInUse)
	}
	free, err := pub.lock()
	if err != nil {
		return 0, err
	}
	defer free()
	s, err := newStage(&pub.parent, stagePrefix)
	if err != nil {
		return 0, err
	}
	defer s.remove()
	if err := s.takeAway(&pub.parent); err != nil {
		return 0, err
	}
	freed = s.in.freed(s.name)
	for _, name := range []string{listFile, originFile} { // they say nothing without the image
		_ = pub.parent.remove(name)
	}
	s.remove()
	if containers, err := c.openTop(containersDir); err == nil && containers.rmdir(id.String()) == nil {
		c.dropLock(id)
	}
	return freed, nil
}

// lock keeps out all that hold the image. The error is ErrInUse, wrapped, if one does.
func (p *Published) lock() (unlock func(), err error) {
	f, err := p.image.openat(".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	err = flock(f, unix.LOCK_EX|unix.LOCK_NB)
	switch {
	case err == unix.EWOULDBLOCK:
		err = fmt.Errorf("%w: %s is reading it", ErrInUse, holder(f))
	case err == nil && !p.parent.is(f, imageDir):
		err = p.image.failed("lock", "", fs.ErrNotExist)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

// takeAway moves the image into the stage, unless it is mounted somewhere: as the input of a build that
// runs.
func (s *stage) takeAway(parent *dir) error {
	mounted := fmt.Errorf("%w: a build has it mounted", ErrInUse)
	if isMounted(parent) {
		return mounted
	}
	if err := parent.rename(imageDir, s.dir, imageDir); err != nil {
		return err
	}
	if isMounted(s.dir) { // in between
		return errors.Join(mounted, s.dir.rename(imageDir, parent, imageDir))
	}
	return nil
}

func isBlobName(name string) bool {
	return digest.NewDigestFromEncoded(digest.SHA256, name).Validate() == nil
}

// RemoveFile removes a manifest list, unless it was used, published again or removed since it was looked at. It says
// whether it did.
func (c *Cache) RemoveFile(was Stored) (bool, error) {
	files, err := c.openTop(filesDir)
	if err != nil {
		return false, fmt.Errorf("remove manifest list: %w", err)
	}
	if is, err := files.stored(was.Digest.String(), was.Digest); err != nil || is != was {
		return false, nil //nolint:nilerr // it is another by now
	}
	if err := files.remove(was.Digest.String()); err != nil && !isAbsent(err) {
		return false, fmt.Errorf("remove manifest list: %w", err)
	}
	return true, nil
}

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
