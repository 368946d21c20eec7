package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// ErrInUse is the error of what another process uses or has locked.
var ErrInUse = errors.New("in use")

// errVersion is the error of a version file with another content.
var errVersion = errors.New("not the version of a dir: image")

// RLock keeps Remove away from the image until release is called, or the process ends. Each user who may read the
// image can, and nothing waits for it: that much reading implies. The error is fs.ErrNotExist if what was opened
// is not published any more.
func (p *Published) RLock() (unlock func(), err error) {
	f, err := p.image.openat(".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	if err = flock(f, unix.LOCK_SH|unix.LOCK_NB); err == unix.EWOULDBLOCK || err == nil && !p.containers.is(f, p.beside(imageDir)) {
		err = p.image.failed("lock", "", fs.ErrNotExist) // who has it alone removes it
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

// Remove takes the name from an image, in one step, and then deletes it; blobs that the pool or another image has
// stay. It returns the bytes of blobs that it freed. same reports whether the image is still the one that the caller
// read. The error is ErrInUse, wrapped, if it is not, or if a process publishes, locks or has mounted the image. What
// a killed Remove leaves has no name that is read; RemoveStale and the next Publish of the image remove it.
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
		return 0, fmt.Errorf("%w: it was used or replaced just now", ErrInUse)
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
	if err := s.takeAway(parent); err != nil {
		return 0, err
	}
	freed = s.in.freed(s.name)
	for _, name := range []string{listFile, originFile} { // they say nothing without the image
		_ = parent.remove(name)
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
	case err == nil && !p.containers.is(f, p.beside(imageDir)):
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

// RemoveFile removes a manifest list, unless it was used, published again or removed since it was read, and reports
// whether it did. It holds the lock of the lists, so that none of these happens between the check and the removal.
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
		return false, nil // it is another by now
	}
	if err := files.remove(was.Digest.String()); err != nil && !isAbsent(err) {
		return false, fmt.Errorf("remove manifest list: %w", err)
	}
	return true, nil
}
