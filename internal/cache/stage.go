package cache

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// stagePrefix begins the names of directories in which images are assembled.
const stagePrefix = imageDir + "-"

// stage is a directory that becomes an image by being renamed. Its lock shows that its maker lives. Until it
// is published, no other user can open it, so that none can have its lock.
type stage struct {
	in   *dir
	name string
	dir  *dir // itself, locked
}

// newStage makes a stage in a directory.
func newStage(in *dir, prefix string) (*stage, error) {
	for {
		name := tempName(prefix)
		if err := unix.Mkdirat(in.fd(), name, privateMode); err != nil {
			return nil, in.failed("mkdir", name, err)
		}
		d, err := in.openAny(name)
		if err == nil {
			if err = flock(d.f, unix.LOCK_SH|unix.LOCK_NB); err == nil && in.is(d.f, name) {
				return &stage{in, name, d}, nil
			}
			d.close()
		}
		if err != nil && err != unix.EWOULDBLOCK && !isAbsent(err) { // these: pruned between its making and its lock
			return nil, err
		}
	}
}

// remove deletes what is left under the stage's name: nothing, or the image that was replaced.
func (s *stage) remove() {
	_ = s.in.removeAll(s.name)
	s.dir.close()
}

// sweep removes the stages in a directory whose makers are dead. One that lives holds a lock.
func sweep(in *dir, prefix string) {
	eachDead(in, prefix, func(name string) { _ = in.removeAll(name) })
}

// eachDead does something with the stages in a directory whose makers are dead, each locked meanwhile.
func eachDead(in *dir, prefix string, do func(name string)) {
	names, err := in.names()
	if err != nil {
		return
	}
	for _, n := range names {
		if !isStage(n, prefix) {
			continue
		}
		d, err := in.openAny(n)
		switch {
		case err == nil:
			if flock(d.f, unix.LOCK_EX|unix.LOCK_NB) == nil {
				do(n)
			}
			d.close()
		case errors.Is(err, unix.ENOTDIR), errors.Is(err, ErrForeign):
			do(n) // no stage is anything but a directory: a file that was replaced by an image
		}
	}
}

// oldSuffix ends the name of what is replaced where a file system cannot exchange two names.
const oldSuffix = "old"

// isStage reports whether a name is one that we give to stages: the prefix and then what is random, digits or letters.
func isStage(name, prefix string) bool {
	rest, ok := strings.CutPrefix(name, prefix)
	return ok && rest != "" && (rest == oldSuffix || strings.Trim(rest, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == "")
}
