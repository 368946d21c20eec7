package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// ErrInUse says that another process uses what is to be removed.
var ErrInUse = errors.New("in use")

// errVersion is of a version file that says something else.
var errVersion = errors.New("not the version of a dir: image")

// Hold keeps Remove away from the image until release is called, or the process ends. The error is
// fs.ErrNotExist if what was opened is not published any more.
func (p *Published) Hold() (release func(), err error) {
	fd, err := unix.Openat(p.dir, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: p.path, Err: err}
	}
	f := os.NewFile(uintptr(fd), p.path)
	if err = flock(f, unix.LOCK_SH); err == nil && !sameFile(f, p.path) {
		err = &fs.PathError{Op: "lock", Path: p.path, Err: fs.ErrNotExist}
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
func (c *Cache) Remove(id digest.Digest, same func(*Published) bool) (freed int64, err error) {
	dest := c.ImagePath(id)
	parent := filepath.Dir(dest)
	unlock, err := lockNamed(parent, unix.LOCK_EX|unix.LOCK_NB)
	if err != nil {
		return 0, inUse(err, "another process is publishing it")
	}
	defer unlock()
	pub, err := look(dest)
	if err != nil {
		return 0, inUse(err, "")
	}
	defer pub.Close()
	if !same(pub) {
		return 0, fmt.Errorf("%w: it was used or replaced just now", ErrInUse)
	}
	free, err := lockNamed(dest, unix.LOCK_EX|unix.LOCK_NB)
	if err != nil {
		return 0, inUse(err, "another process is reading it")
	}
	defer free()
	s, err := newStage(parent, stagePrefix)
	if err != nil {
		return 0, err
	}
	defer s.remove()
	if err := s.takeAway(dest); err != nil {
		return 0, err
	}
	freed = weigh(s.dir)
	for _, name := range []string{listFile, originFile} { // they say nothing without the image
		_ = os.Remove(filepath.Join(parent, name))
	}
	s.remove()
	_ = os.Remove(parent)
	return freed, nil
}

// takeAway moves the image into the stage, unless it is mounted somewhere: as the input of a build that
// runs.
func (s *stage) takeAway(dest string) error {
	mounted := fmt.Errorf("%w: a build has it mounted", ErrInUse)
	if isMounted(dest) {
		return mounted
	}
	away := filepath.Join(s.dir, imageDir)
	if err := os.Rename(dest, away); err != nil {
		return err
	}
	if isMounted(away) { // in between
		return errors.Join(mounted, os.Rename(away, dest))
	}
	return nil
}

// inUse makes the error of a lock one that says who has it.
func inUse(err error, who string) error {
	if errors.Is(err, unix.EWOULDBLOCK) {
		return fmt.Errorf("%w: %s", ErrInUse, who)
	}
	return err
}

// weigh is how many bytes come free when a folder is deleted: those of blobs that have no name elsewhere.
func weigh(dir string) (total int64) {
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !isBlobName(e.Name()) {
			return nil //nolint:nilerr // what cannot be read is not counted
		}
		if s, err := storedAt(unix.AT_FDCWD, path, ""); err == nil && s.Links == 1 {
			total += s.Size
		}
		return nil
	})
	return total
}

func isBlobName(name string) bool {
	return digest.NewDigestFromEncoded(digest.SHA256, name).Validate() == nil
}

// RemoveFile removes a manifest list, unless it was used, published anew or removed since it was looked at. It says
// whether it did.
func (c *Cache) RemoveFile(was Stored) (bool, error) {
	path := c.FilePath(was.Digest)
	if is, err := storedAt(unix.AT_FDCWD, path, was.Digest); err != nil || is != was {
		return false, nil //nolint:nilerr // it is another by now
	}
	if err := os.Remove(path); err != nil && !isAbsent(err) {
		return false, fmt.Errorf("remove manifest list: %w", err)
	}
	return true, nil
}

// poolPoll is how often it is tried to have the pool alone.
const poolPoll = 20 * time.Millisecond

// Swept is what was removed from the pool.
type Swept struct {
	Unused  []Stored // blobs that had no name but that in the pool
	Partial []Stored // downloads that nobody went on with
}

// Sweep removes from the pool the blobs that no image has, and the parts of blobs to which nobody wrote
// since before. For that it must have the pool alone: as long as another process uses it, which may rely
// on a blob that it saw there, it waits until ctx ends, and then the error is ErrInUse, wrapped.
func (c *Cache) Sweep(ctx context.Context, before time.Time) (swept Swept, err error) {
	root := filepath.Join(c.containers, poolDir)
	lock, err := os.OpenFile(filepath.Join(root, "lock"), os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		if isAbsent(err) { // nobody has opened a pool here
			err = nil
		}
		return swept, err
	}
	defer lock.Close()
	for err = flock(lock, unix.LOCK_EX|unix.LOCK_NB); err != nil; err = flock(lock, unix.LOCK_EX|unix.LOCK_NB) {
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return swept, fmt.Errorf("lock the blob pool: %w", err)
		}
		select {
		case <-ctx.Done():
			return swept, fmt.Errorf("the pool is %w: another process fetches", ErrInUse)
		case <-time.After(poolPoll):
		}
	}
	if !sameFile(lock, lock.Name()) {
		return swept, fmt.Errorf("the pool is %w: another process made it anew", ErrInUse)
	}
	sweep(filepath.Join(root, "staging"), "")
	pooled, err := c.Pooled()
	if err != nil {
		return swept, err
	}
	for _, b := range pooled {
		if b.Links == 1 && os.Remove(c.PooledPath(b.Digest)) == nil {
			swept.Unused = append(swept.Unused, b)
		}
	}
	partial, err := c.Partial()
	if err != nil {
		return swept, err
	}
	for _, b := range partial {
		if b.Changed.Before(before) && os.Remove(filepath.Join(root, "partial", b.Digest.Encoded())) == nil {
			swept.Partial = append(swept.Partial, b)
		}
	}
	return swept, nil
}

// Tidy removes what processes that were killed left beside images and lists, and returns how many bytes of
// blobs came free. Folders without an image go if nothing happened to them since before.
func (c *Cache) Tidy(before time.Time) (freed int64, err error) {
	sweep(c.files, replacePrefix)
	names, err := os.ReadDir(c.containers)
	if err != nil && !isAbsent(err) {
		return 0, fmt.Errorf("look for images: %w", err)
	}
	for _, n := range names {
		if id, err := digest.Parse(n.Name()); err == nil && id.Algorithm() == digest.SHA256 {
			freed += tidy(filepath.Join(c.containers, n.Name()), before)
		}
	}
	return freed, nil
}

func tidy(dir string, before time.Time) (freed int64) {
	unlock, err := lockNamed(dir, unix.LOCK_EX|unix.LOCK_NB)
	if err != nil {
		return 0
	}
	defer unlock()
	old, err := os.Stat(dir)
	if err != nil {
		return 0
	}
	eachDead(dir, stagePrefix, func(path string) {
		freed += weigh(path)
		_ = os.RemoveAll(path)
	})
	if _, err := os.Lstat(filepath.Join(dir, imageDir)); isAbsent(err) && old.ModTime().Before(before) {
		for _, name := range []string{listFile, originFile} {
			_ = os.Remove(filepath.Join(dir, name))
		}
		_ = os.Remove(dir)
	}
	return freed
}
