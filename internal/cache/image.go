package cache

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

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
	Origins    []Origin              // where it was fetched from, recorded beside it
}

func signatureFile(i int) string { return fmt.Sprintf("signature-%d", i) }

// Publish makes the image visible under id, or exchanges what is there for it. All its blobs must
// be in the pool. An image that is there and is the same stays as it is: somebody may be
// reading it.
func (c *Cache) Publish(p *Pool, id digest.Digest, img *Image) error {
	dest := c.ImagePath(id)
	if err := p.publish(dest, img); err != nil {
		return fmt.Errorf("publish image: %w", err)
	}
	return syncDir(filepath.Dir(dest))
}

// publish holds the lock of the folder of the name, so that of several processes that
// publish the same image one does, and the others find it.
func (p *Pool) publish(dest string, img *Image) error {
	parent := filepath.Dir(dest)
	unlock, err := makeLocked(parent)
	if err != nil {
		return err
	}
	defer unlock()
	sweep(parent, stagePrefix)
	err = p.show(p.staging, dest, img)
	if errors.Is(err, unix.EXDEV) { // the pool is on another file system
		err = p.show(parent, dest, img)
	}
	return err
}

// makeLocked makes a folder and takes its lock. Whoever had the lock before may have removed the folder.
func makeLocked(dir string) (unlock func(), err error) {
	for {
		if err := makeDir(dir); err != nil {
			return nil, err
		}
		if unlock, err = lockDir(dir); !isAbsent(err) {
			return unlock, err
		}
	}
}

// show puts the image together in a stage in the folder given, and gives that its name. What lies
// beside the image goes first: it says nothing without the image.
func (p *Pool) show(in, dest string, img *Image) error {
	s, err := newStage(in, stagePrefix)
	if err != nil {
		return err
	}
	defer s.remove()
	parent := filepath.Dir(dest)
	there := p.isAt(dest, img)
	if there {
		_ = putOrigins(parent, img.Origins) // for people: nothing depends on it
	} else if err := s.fill(p, img, parent); err != nil {
		return err
	}
	if err := s.putList(filepath.Join(parent, listFile), img.List); err != nil || there {
		return err
	}
	err = unix.Renameat2(unix.AT_FDCWD, s.dir, unix.AT_FDCWD, dest, unix.RENAME_NOREPLACE)
	if noFlag(err) { // os.Rename replaces no folder, and a folder no file
		err = os.Rename(s.dir, dest)
	}
	if errors.Is(err, unix.EEXIST) || errors.Is(err, unix.ENOTDIR) {
		err = exchange(s.dir, dest)
	}
	return err
}

// isAt says whether this very image is at dest, with the blobs of the pool.
func (p *Pool) isAt(dest string, img *Image) bool {
	pub, err := look(dest)
	if err != nil {
		return false
	}
	defer pub.Close()
	raw, err := pub.Manifest()
	if err != nil || !bytes.Equal(raw, img.Manifest) || !pub.Has(img.Blobs) || pub.CheckVersion() != nil {
		return false
	}
	sigs, err := pub.Signatures()
	if err != nil || !slices.EqualFunc(sigs, img.Signatures, bytes.Equal) {
		return false
	}
	return !slices.ContainsFunc(img.Blobs, func(b manifest.Descriptor) bool {
		return !sameContent(pub.BlobPath(b.Digest), p.path(b.Digest), b.Digest)
	})
}

// fill makes the stage the image, and puts where that is from beside where it will be.
func (s *stage) fill(p *Pool, img *Image, parent string) error {
	for _, b := range img.Blobs {
		if err := linkOrCopy(p.path(b.Digest), filepath.Join(s.dir, b.Digest.Encoded())); err != nil {
			return err
		}
	}
	files := map[string][]byte{versionFile: []byte(version), manifestFile: img.Manifest}
	for i, sig := range img.Signatures {
		files[signatureFile(i+1)] = sig
	}
	if err := s.putFiles(files, parent, img.Origins); err != nil {
		return err
	}
	return syncDir(s.dir)
}

// putFiles writes the files into the stage and the origins beside the image, all synced together.
func (s *stage) putFiles(files map[string][]byte, parent string, fresh []Origin) error {
	text := mergeOrigins(parent, fresh)
	if text == nil {
		return writeFiles(s.dir, files)
	}
	files[originFile] = text
	if err := writeFiles(s.dir, files); err != nil {
		return err
	}
	return s.moveOrigins(parent)
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
	tmp := filepath.Join(s.dir, listFile)
	if err := writeFile(tmp, list); err != nil {
		return err
	}
	return os.Rename(tmp, dest)
}
