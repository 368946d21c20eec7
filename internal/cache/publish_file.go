package cache

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"osbuild-containers/internal/manifest"
)

// replacePrefix begins the names of directories in which a file that replaces another is written.
const replacePrefix = ".new-"

// ReadFile reads the manifest list published under d. The error is fs.ErrNotExist if there is none, ErrForeign if another
// user owns it or can change it, and a manifest.MismatchError if it is damaged.
func (c *Cache) ReadFile(d digest.Digest) ([]byte, error) {
	files, err := c.openTop(filesDir)
	if err != nil {
		return nil, err
	}
	raw, err := files.read(d.String())
	if err != nil {
		return nil, err
	}
	if got := digest.FromBytes(raw); got != d {
		return nil, manifest.Mismatch("manifest list", got, d)
	}
	return raw, nil
}

// CheckFile returns ErrForeign if another user owns, or can change, the file published under d, and nil otherwise.
func (c *Cache) CheckFile(d digest.Digest) error {
	if _, err := c.ReadFile(d); errors.Is(err, ErrForeign) {
		return err
	}
	return nil
}

// PublishFile publishes the manifest list under its digest d, which the caller has verified. It replaces a file of
// that name with other content.
func (c *Cache) PublishFile(ctx context.Context, d digest.Digest, raw []byte) error {
	if err := c.publishFile(ctx, d, raw); err != nil {
		return fmt.Errorf("publish manifest list: %w", err)
	}
	return nil
}

func (c *Cache) publishFile(ctx context.Context, d digest.Digest, raw []byte) error {
	files, err := c.makeTop(filesDir)
	if err != nil {
		return err
	}
	if err := c.CheckFile(d); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := c.makeLocks(); err != nil {
		return err
	}
	unlock, err := c.lockLists(ctx) // until the name is on disk, as for images
	if err != nil {
		return err
	}
	defer unlock()
	err = nameFile(files, d.String(), raw)
	if errors.Is(err, unix.EEXIST) {
		if _, e := c.ReadFile(d); e == nil { // another process was faster
			err = nil
		}
	}
	if errors.Is(err, unix.EEXIST) || errors.Is(err, errNoName) {
		err = replaceFile(files, d.String(), raw)
	}
	if err != nil {
		return err
	}
	return files.sync()
}

// errNoName: the system has no files without a name, or cannot give them one later.
var errNoName = errors.New("no file without a name")

// nameFile writes to a file without a name, which a crash leaves nothing of, and names it.
func nameFile(in *dir, name string, raw []byte) error {
	f, err := in.openat(".", unix.O_TMPFILE|unix.O_WRONLY, fileMode)
	if err != nil {
		return errNoName
	}
	defer f.Close()
	if _, err := f.Write(raw); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	err = linkOpen(f, in, name)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return errNoName
	}
	return err
}

// replaceFile writes the file in a directory of its own, which is pruned after a crash, and renames
// it. A directory of that name is removed.
func replaceFile(in *dir, name string, raw []byte) error {
	removeDead(in, replacePrefix)
	s, err := newStage(in, replacePrefix)
	if err != nil {
		return err
	}
	defer s.remove()
	if err := writeFile(s.dir, name, raw); err != nil {
		return err
	}
	err = s.dir.rename(name, in, name)
	if errors.Is(err, unix.EISDIR) || errors.Is(err, unix.EEXIST) {
		if err := in.rename(name, s.dir, oldSuffix); err != nil {
			return err
		}
		err = s.dir.rename(name, in, name)
	}
	return err
}

// writeFile writes and syncs a new file.
func writeFile(in *dir, name string, content []byte) error {
	return writeFiles(in, map[string][]byte{name: content})
}

// writeFiles writes and syncs new files, name -> content, in a directory.
func writeFiles(in *dir, contents map[string][]byte) (err error) {
	files := make([]*os.File, 0, len(contents))
	defer func() {
		for _, f := range files {
			if e := f.Close(); err == nil {
				err = e
			}
		}
	}()
	for name, content := range contents {
		f, err := in.create(name)
		if err != nil {
			return err
		}
		files = append(files, f)
		if _, err := f.Write(content); err != nil {
			return err
		}
	}
	return syncTogether(files)
}
