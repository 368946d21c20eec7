package atomicfile

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"osbuild-containers/internal/resolve"
)

// Replace replaces the content of a user's file. At any moment, even after a crash, the file has either the old content or the
// new, and the new is durable when Replace returns. A symbolic link to the file stays, unless package resolve refuses it. Mode,
// owner and group are kept as far as permitted, so that a file updated by root still belongs to its user. A new file has mode
// 0644, subject to the umask.
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
	if err := p.CheckWritable(); err != nil {
		return err
	}
	if p.Stat != nil && !p.IsDir() && !p.IsRegular() {
		return errors.New("not a regular file")
	}
	mode := uint32(0o644)
	if p.Stat != nil {
		mode = 0o600 // until inherit sets the old file's mode, which may deny reading
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

// inherit sets the mode, and as far as permitted the owner and group, of the file being replaced.
func (f *File) inherit(st *unix.Stat_t) error {
	fd := int(f.Fd())
	if unix.Fchown(fd, int(st.Uid), int(st.Gid)) != nil {
		_ = unix.Fchown(fd, -1, int(st.Gid)) // a member of the group may do this
	}
	return unix.Fchmod(fd, st.Mode&0o7777) // after the owner, since changing that clears bits
}
