package atomicfile

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"osbuild-containers/internal/resolve"
)

// Replace gives a file that people keep new content: at any moment, also after a crash, the file has all of the old
// content or all of the new, and the new is on disk when Replace returns. A symbolic link still points to it, unless
// package resolve refuses it. The mode stays, and the owner and group where that is allowed, so that a file that root
// refreshed is still its user's. A new file has the mode 0644, less the umask.
func Replace(path string, data []byte) error {
	if path == "" {
		return errors.New("the name of the file to be written is empty")
	}
	if err := replace(path, data); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func replace(path string, data []byte) error {
	p, err := resolve.Target(path)
	if err != nil {
		return err
	}
	defer p.Close()
	if p.Stat != nil && !p.IsDir() && !p.IsRegular() {
		return errors.New("not a regular file")
	}
	mode := uint32(0o644)
	if p.Stat != nil {
		mode = 0o600 // until inherit gives it the mode of the file that it replaces, which others may not read
	}
	f, err := createIn(p.Dir, p.Base, mode)
	if err != nil {
		return err
	}
	defer f.Discard()
	if p.Stat != nil {
		if err := f.inherit(p.Stat); err != nil {
			return err
		}
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Commit(); err != nil {
		return err
	}
	return f.SyncName()
}

// inherit gives the file the mode of the one that it replaces, and its owner and group as far as this process may.
func (f *File) inherit(st *unix.Stat_t) error {
	fd := int(f.Fd())
	if unix.Fchown(fd, int(st.Uid), int(st.Gid)) != nil {
		_ = unix.Fchown(fd, -1, int(st.Gid)) // a member of its group may do that much
	}
	return unix.Fchmod(fd, st.Mode&0o7777) // after the owner: a change of that clears bits
}
