package cache

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"osbuild-containers/internal/manifest"
)

// Image is what is published for one image id. Its blobs come from the pool.
type Image struct {
	Manifest   []byte                // as served
	List       []byte                // the manifest list that was pinned instead of Manifest, or nil
	Blobs      []manifest.Descriptor // config and layers, each digest once
	Signatures [][]byte              // content of signature-1, signature-2, …
}

func signatureFile(i int) string { return fmt.Sprintf("signature-%d", i) }

// Publish makes the image visible under id, or exchanges the one that is there for it. All its
// blobs must be in the pool.
func (c *Cache) Publish(p *Pool, id digest.Digest, img *Image) error {
	stage, err := p.newStage()
	if err != nil {
		return fmt.Errorf("stage image: %w", err)
	}
	defer stage.remove()
	if err := stage.fill(p, img); err != nil {
		return fmt.Errorf("stage image: %w", err)
	}
	return c.show(stage, id, img.List)
}

// show gives the staged folder its name. The list goes first: it says nothing without the image.
func (c *Cache) show(s *stage, id digest.Digest, list []byte) error {
	dest := c.ImagePath(id)
	parent := filepath.Dir(dest)
	if err := makeDir(parent); err != nil {
		return fmt.Errorf("publish image: %w", err)
	}
	if err := s.putList(filepath.Join(parent, listFile), list); err != nil {
		return fmt.Errorf("publish image: %w", err)
	}
	err := unix.Renameat2(unix.AT_FDCWD, s.dir, unix.AT_FDCWD, dest, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EINVAL) { // a file system without the flag: rename replaces an empty folder only
		err = os.Rename(s.dir, dest)
	}
	if errors.Is(err, unix.EEXIST) || errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.ENOTDIR) {
		err = exchange(s.dir, dest)
	}
	if err != nil {
		return fmt.Errorf("publish image: %w", err)
	}
	return syncDir(parent)
}

// stage is a folder that becomes an image by being renamed. Its lock says that its maker lives.
type stage struct {
	dir  string
	lock *os.File
}

func (p *Pool) newStage() (*stage, error) {
	for {
		dir, err := os.MkdirTemp(p.staging, "image-")
		if err != nil {
			return nil, err
		}
		f, err := os.Open(dir)
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

func (s *stage) fill(p *Pool, img *Image) error {
	for _, b := range img.Blobs {
		if err := linkOrCopy(p.path(b.Digest), filepath.Join(s.dir, b.Digest.Encoded())); err != nil {
			return err
		}
	}
	files := map[string][]byte{versionFile: []byte(version), manifestFile: img.Manifest}
	for i, sig := range img.Signatures {
		files[signatureFile(i+1)] = sig
	}
	for name, content := range files {
		if err := writeFile(filepath.Join(s.dir, name), content); err != nil {
			return err
		}
	}
	return syncDir(s.dir)
}

// putList writes the list to dest, unless it is there already; nil removes it.
func (s *stage) putList(dest string, list []byte) error {
	if list == nil {
		if err := os.Remove(dest); err != nil && !isAbsent(err) {
			return err
		}
		return nil
	}
	if old, err := readAt(unix.AT_FDCWD, dest); err == nil && bytes.Equal(old, list) {
		return nil
	}
	tmp := filepath.Join(filepath.Dir(s.dir), strings.TrimPrefix(filepath.Base(s.dir), "image-")+".list")
	defer os.Remove(tmp)
	if err := writeFile(tmp, list); err != nil {
		return err
	}
	return os.Rename(tmp, dest)
}

// writeFile writes and syncs a new file.
func writeFile(path string, content []byte) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, fileMode)
	if err != nil {
		return err
	}
	defer func() {
		if e := f.Close(); err == nil {
			err = e
		}
	}()
	if err := f.Chmod(fileMode); err != nil {
		return err
	}
	if _, err := f.Write(content); err != nil {
		return err
	}
	return f.Sync()
}
