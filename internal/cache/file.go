package cache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// replacePrefix begins the names of folders in which a file that replaces another is written.
const replacePrefix = ".new-"

// File reads the manifest list published under d, if what is there has that digest.
func (c *Cache) File(d digest.Digest) ([]byte, bool) {
	raw, err := readAt(unix.AT_FDCWD, c.FilePath(d))
	return raw, err == nil && digest.FromBytes(raw) == d
}

// PublishFile makes the manifest list visible under its digest d, which the caller has verified.
// What has that name with another content is replaced.
func (c *Cache) PublishFile(ctx context.Context, d digest.Digest, raw []byte) error {
	if err := makeDir(c.files); err != nil {
		return fmt.Errorf("publish manifest list: %w", err)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	err := nameFile(c.FilePath(d), raw)
	if errors.Is(err, unix.EEXIST) {
		if _, right := c.File(d); right { // another process was faster
			err = nil
		}
	}
	if errors.Is(err, unix.EEXIST) || errors.Is(err, errNoName) {
		err = replaceFile(c.FilePath(d), raw)
	}
	if err != nil {
		return fmt.Errorf("publish manifest list: %w", err)
	}
	return syncDir(c.files)
}

// errNoName: the system has no files without a name, or cannot give them one later.
var errNoName = errors.New("no file without a name")

// nameFile writes to a file without a name, which a crash leaves nothing of, and names it.
func nameFile(dest string, raw []byte) error {
	fd, err := unix.Open(filepath.Dir(dest), unix.O_TMPFILE|unix.O_WRONLY|unix.O_CLOEXEC, fileMode)
	if err != nil {
		return errNoName
	}
	f := os.NewFile(uintptr(fd), dest)
	defer f.Close()
	if err := fillFile(f, raw); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	err = linkOpen(f, dest)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return errNoName
	}
	return err
}

// replaceFile writes the file in a folder of its own, which is swept after a crash, and renames
// it to dest. A folder of that name gives way.
func replaceFile(dest string, raw []byte) error {
	dir := filepath.Dir(dest)
	sweep(dir, replacePrefix)
	s, err := newStage(dir, replacePrefix)
	if err != nil {
		return err
	}
	defer s.remove()
	tmp := filepath.Join(s.dir, filepath.Base(dest))
	if err := writeFile(tmp, raw); err != nil {
		return err
	}
	err = os.Rename(tmp, dest)
	if errors.Is(err, unix.EISDIR) || errors.Is(err, unix.EEXIST) {
		if err := os.Rename(dest, filepath.Join(s.dir, "old")); err != nil {
			return err
		}
		err = os.Rename(tmp, dest)
	}
	return err
}

// writeFile writes and syncs a new file.
func writeFile(path string, content []byte) error {
	return writeFiles(filepath.Dir(path), map[string][]byte{filepath.Base(path): content})
}

// writeFiles writes and syncs new files, name -> content, in a folder.
func writeFiles(dir string, contents map[string][]byte) (err error) {
	files := make([]*os.File, 0, len(contents))
	defer func() {
		for _, f := range files {
			if e := f.Close(); err == nil {
				err = e
			}
		}
	}()
	for name, content := range contents {
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
		if err != nil {
			return err
		}
		files = append(files, f)
		if err := fillFile(f, content); err != nil {
			return err
		}
	}
	return syncTogether(files)
}

// fillFile writes the content of a file that is to be published.
func fillFile(f *os.File, content []byte) error {
	if err := f.Chmod(fileMode); err != nil {
		return err
	}
	_, err := f.Write(content)
	return err
}
