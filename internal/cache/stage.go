package cache

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// stagePrefix begins the names of directories in which images are assembled.
const stagePrefix = imageDir + "-"

// stage is a directory that becomes an image when it is renamed. Its lock shows that its creator is alive. Other
// users cannot open it before it is published, and so cannot lock it.
type stage struct {
	in   *dir
	name string
	dir  *dir // the stage itself, locked
}

// newStage creates a stage in a directory.
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
		if err != nil && err != unix.EWOULDBLOCK && !isAbsent(err) { // either of these: removed between its creation and its lock
			return nil, err
		}
	}
}

// remove deletes the stage, which may contain a replaced image by now.
func (s *stage) remove() {
	_ = s.in.removeAll(s.name)
	s.dir.close()
}

// removeDead removes the stages in a directory whose creators are dead. A living creator holds a lock.
func removeDead(in *dir, prefix string) {
	eachDead(in, prefix, func(name string) { _ = in.removeAll(name) })
}

// eachDead calls do for each stage in a directory whose creator is dead. The stage is locked meanwhile.
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
			do(n) // not a directory, as after replacing a file by an image
		}
	}
}

// oldSuffix ends the name of a replaced directory on file systems that cannot exchange names.
const oldSuffix = "old"

// isStage reports whether name is that of a stage: the prefix followed by random letters and digits.
func isStage(name, prefix string) bool {
	rest, ok := strings.CutPrefix(name, prefix)
	return ok && rest != "" && (rest == oldSuffix || strings.Trim(rest, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") == "")
}
