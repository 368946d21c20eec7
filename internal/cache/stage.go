package cache

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// stagePrefix begins the names of folders in which images are put together.
const stagePrefix = imageDir + "-"

// stage is a folder that becomes an image by being renamed. Its lock says that its maker lives.
type stage struct {
	dir  string
	lock *os.File
}

// newStage makes a stage in a folder.
func newStage(in, prefix string) (*stage, error) {
	for {
		dir, err := os.MkdirTemp(in, prefix)
		if err != nil {
			return nil, err
		}
		f, err := openDir(dir)
		if err == nil {
			if err = flock(f, unix.LOCK_SH); err == nil && sameFile(f, dir) {
				if err = f.Chmod(dirMode); err == nil {
					return &stage{dir: dir, lock: f}, nil
				}
			}
			f.Close()
		}
		if err != nil && !isAbsent(err) { // absent: swept between its making and its lock
			return nil, err
		}
	}
}

// remove deletes what is left under the stage's name: nothing, or the image that was replaced.
func (s *stage) remove() {
	_ = os.RemoveAll(s.dir)
	s.lock.Close()
}

// sweep removes the stages in a folder whose makers are dead. One that lives holds a lock.
func sweep(in, prefix string) {
	eachDead(in, prefix, func(path string) { _ = os.RemoveAll(path) })
}

// eachDead does something with the stages in a folder whose makers are dead, each locked meanwhile.
func eachDead(in, prefix string, do func(path string)) {
	names, err := os.ReadDir(in)
	if err != nil {
		return
	}
	for _, n := range names {
		if !strings.HasPrefix(n.Name(), prefix) {
			continue
		}
		path := filepath.Join(in, n.Name())
		f, err := openDir(path)
		switch {
		case err == nil:
			if flock(f, unix.LOCK_EX|unix.LOCK_NB) == nil {
				do(path)
			}
			f.Close()
		case errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ELOOP):
			do(path) // no stage is anything but a folder
		}
	}
}

// openDir opens a folder itself: no symbolic link, and nothing that it would have to wait for.
func openDir(path string) (*os.File, error) {
	return os.OpenFile(path, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
}

// lockDir takes the lock of a folder, for as long as it takes whoever has it.
func lockDir(path string) (unlock func(), err error) { return lockNamed(path, unix.LOCK_EX) }

// lockNamed takes a lock of a folder. The error is fs.ErrNotExist if the folder was removed before
// the lock could be had.
func lockNamed(path string, how int) (unlock func(), err error) {
	f, err := openDir(path)
	if err != nil {
		return nil, err
	}
	if err = flock(f, how); err == nil && !sameFile(f, path) {
		err = &fs.PathError{Op: "lock", Path: path, Err: fs.ErrNotExist}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}
