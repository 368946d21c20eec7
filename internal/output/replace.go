package output

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/google/renameio/v2"
)

// Replace gives a file that people keep new content: whoever dies when, the file is the old one or the
// new one, which is on disk. A symbolic link goes on pointing to it; its mode stays, and its owner and
// group where that is allowed, so that a file that root refreshed is still its user's. A new file has the
// mode 0644.
func Replace(path string, data []byte) error {
	if path == "" {
		return errors.New("the name of the file to be written is empty")
	}
	target, err := filepath.EvalSymlinks(path)
	if errors.Is(err, os.ErrNotExist) {
		target, err = path, nil // a new file
		if to, e := os.Readlink(path); e == nil {
			err = fmt.Errorf("it is a symbolic link to %s, which is not there", to)
		}
	}
	if err == nil {
		err = replace(target, data)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func replace(path string, data []byte) error {
	// Beside its place, whose group, attributes and label new files have.
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithPermissions(0o644), renameio.WithExistingPermissions())
	if err != nil {
		return err
	}
	defer f.Cleanup() //nolint:errcheck // it is gone already where nothing failed
	if info, err := os.Stat(path); err == nil {
		if owner, ok := info.Sys().(*syscall.Stat_t); ok && f.Chown(int(owner.Uid), int(owner.Gid)) != nil {
			_ = f.Chown(-1, int(owner.Gid)) // a member of its group may do that much
		}
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.CloseAtomicallyReplace()
}
