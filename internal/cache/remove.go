package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// ErrInUse is the error if another process uses or has locked an image, list or pool.
var ErrInUse = errors.New("in use")

// errVersion is the error for a version file with other content.
var errVersion = errors.New("not the version of a dir: image")

// RLock prevents Remove from removing the image until release is called or the process ends. Any user who can read
// the image can do so, and RLock never waits. The error is fs.ErrNotExist if the opened image is not published any
// more.
func (p *Published) RLock() (unlock func(), err error) {
	f, err := p.image.openat(".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	if err = flock(f, unix.LOCK_SH|unix.LOCK_NB); err == unix.EWOULDBLOCK || err == nil && !p.containers.is(f, p.beside(imageDir)) {
		err = p.image.failed("lock", "", fs.ErrNotExist) // an exclusive lock: its holder is removing the image
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

// Remove unpublishes an image by one rename and then deletes it, except for blobs that the pool or another image has.
// It returns the number of bytes freed. same reports whether the image is still the one that the caller read. The
// error wraps ErrInUse if it is not, or if a process is publishing, has locked or has mounted the image. Files that a
// killed Remove leaves are ignored by readers; RemoveStale and the next Publish of the image remove them.
func (c *Cache) Remove(ctx context.Context, id digest.Digest, same func(*Published) bool) (freed int64, err error) {
	unlock, err := c.lockImage(ctx, id, unix.LOCK_EX|unix.LOCK_NB)
	if err != nil {
		return 0, err
	}
	defer unlock()
	pub, err := c.OpenImage(id)
	if err != nil {
		return 0, err
	}
	defer pub.Close()
	if !same(pub) {
		return 0, fmt.Errorf("%w: it was used, named or replaced just now", ErrInUse)
	}
	free, err := pub.lock()
	if err != nil {
		return 0, err
	}
	defer free()
	parent, err := c.openImageDir(id)
	if err != nil {
		return 0, err
	}
	defer parent.close()
	s, err := newStage(parent, stagePrefix)
	if err != nil {
		return 0, err
	}
	defer s.remove()
	if err := s.moveOut(parent); err != nil {
		return 0, err
	}
	freed = s.in.freed(s.name)
	for _, name := range []string{listFile, originFile} { // they mean nothing without the image
		_ = parent.remove(name)
	}
	_ = removeSchema1(parent, nil)
	s.remove()
	if containers, err := c.openTop(containersDir); err == nil && containers.rmdir(id.String()) == nil {
		c.dropLock(id)
	}
	return freed, nil
}

// lock locks the image exclusively. The error wraps ErrInUse if another process holds a lock.
func (p *Published) lock() (unlock func(), err error) {
	f, err := p.image.openat(".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	err = flock(f, unix.LOCK_EX|unix.LOCK_NB)
	switch {
	case err == unix.EWOULDBLOCK:
		err = fmt.Errorf("%w: %s is reading it", ErrInUse, holder(f))
	case err == nil && !p.containers.is(f, p.beside(imageDir)):
		err = p.image.failed("lock", "", fs.ErrNotExist)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

// moveOut moves the image into the stage, unless it is mounted, for instance as an input of a running build.
func (s *stage) moveOut(parent *dir) error {
	mounted := fmt.Errorf("%w: a build has it mounted", ErrInUse)
	if isMounted(parent) {
		return mounted
	}
	if err := parent.rename(imageDir, s.dir, imageDir); err != nil {
		return err
	}
	if isMounted(s.dir) { // mounted meanwhile
		return errors.Join(mounted, s.dir.rename(imageDir, parent, imageDir))
	}
	return nil
}

func isBlobName(name string) bool {
	return digest.NewDigestFromEncoded(digest.SHA256, name).Validate() == nil
}

// RemoveFile removes a manifest list, unless it was used, published again or removed since the caller obtained was. It
// reports whether it removed the list. It holds the lock of the lists from the check to the removal.
func (c *Cache) RemoveFile(ctx context.Context, was Stored) (bool, error) {
	files, err := c.openTop(filesDir)
	if err != nil {
		return false, fmt.Errorf("remove manifest list: %w", err)
	}
	unlock, err := c.lockLists(ctx)
	if err != nil {
		return false, fmt.Errorf("remove manifest list: %w", err)
	}
	defer unlock()
	if is, err := files.stored(was.Digest.String(), was.Digest); err != nil || is != was {
		return false, nil // a different file now
	}
	if err := files.remove(was.Digest.String()); err != nil && !isAbsent(err) {
		return false, fmt.Errorf("remove manifest list: %w", err)
	}
	return true, nil
}
