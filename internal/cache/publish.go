package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"osbuild-containers/internal/manifest"
)

// Image is the content to publish for an image id. Its blobs are in the pool.
type Image struct {
	Manifest   []byte                // as served
	List       []byte                // the manifest list that was pinned instead of Manifest, or nil
	Blobs      []manifest.Descriptor // config and layers, each digest once
	Signatures [][]byte              // content of signature-1, signature-2, …
	Schema1    *Schema1              // what Manifest was converted from, or nil
	Origins    []Origin              // recorded next to the image
}

func signatureFile(i int) string { return fmt.Sprintf("signature-%d", i) }

// Publish publishes the image under id, replacing a different one. All its blobs must be in the pool. An identical
// published image is not changed, because another process may be reading it.
func (c *Cache) Publish(ctx context.Context, p *Pool, id digest.Digest, img *Image) error {
	if err := p.publish(ctx, id, img); err != nil {
		return fmt.Errorf("publish image: %w", err)
	}
	return nil
}

// publish holds the lock of the image, so that one of several processes publishes it and the others find it. The lock
// is held until the name is on disk: a process that waited for it need not sync the name again, which on btrfs it
// could not.
func (p *Pool) publish(ctx context.Context, id digest.Digest, img *Image) error {
	unlock, err := p.cache.lockImage(ctx, id, unix.LOCK_EX)
	if err != nil {
		return err
	}
	defer unlock()
	parent, made, err := p.containers.mkdir(id.String(), dirMode)
	if err != nil {
		return err
	}
	defer parent.close()
	made = made || parent.changedRecently()
	removeDead(parent, stagePrefix)
	err = p.publishFrom(p.staging, parent, id, img)
	if errors.Is(err, unix.EXDEV) { // the pool is on another file system
		err = p.publishFrom(parent, parent, id, img)
	}
	if err == nil {
		err = parent.sync()
	}
	if err == nil && made {
		err = p.containers.sync()
	}
	return err
}

// publishFrom assembles the image in a stage in the directory in, and renames the stage to the image's name. Files next to
// the image are written first, since they have no meaning without it.
func (p *Pool) publishFrom(in, parent *dir, id digest.Digest, img *Image) error {
	there, err := p.isAt(id, img)
	if err != nil {
		return err
	}
	s, err := newStage(in, stagePrefix)
	if err != nil {
		return err
	}
	defer s.remove()
	if there {
		_ = putOrigins(parent, img.Origins) // informational only
	} else if err := s.fill(p, img, parent); err != nil {
		return err
	}
	if err := s.putList(parent, img.List); err != nil {
		return err
	}
	if err := s.putSchema1(parent, img.Schema1); err != nil || there {
		return err
	}
	if err := s.dir.f.Chmod(published(dirMode)); err != nil {
		return err
	}
	err = s.in.renameFlags(s.name, parent, imageDir, unix.RENAME_NOREPLACE)
	if isUnsupported(err) { // rename does not replace a non-empty directory, nor a file by a directory
		err = s.in.rename(s.name, parent, imageDir)
	}
	if errors.Is(err, unix.EEXIST) || errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.ENOTDIR) {
		err = exchange(s.in, s.name, parent, imageDir)
	}
	return err
}

// isAt reports whether this very image is published, with the blobs of the pool. It returns an error if another user
// can change the published one, which is then not replaced.
func (p *Pool) isAt(id digest.Digest, img *Image) (bool, error) {
	pub, err := p.cache.OpenImage(id)
	if err != nil {
		if errors.Is(err, ErrForeign) {
			return false, err
		}
		return false, nil
	}
	defer pub.Close()
	if err := pub.check(); err != nil {
		return false, err
	}
	raw, err := pub.Manifest()
	if err != nil || !bytes.Equal(raw, img.Manifest) || !pub.Has(img.Blobs) || pub.CheckVersion() != nil {
		return false, nil // a different or damaged image
	}
	sigs, err := pub.Signatures()
	if err != nil || !slices.EqualFunc(sigs, img.Signatures, bytes.Equal) {
		return false, nil
	}
	return !slices.ContainsFunc(img.Blobs, func(b manifest.Descriptor) bool { return !p.hasSame(pub, b.Digest) }), nil
}

// hasSame reports whether the image contains the pooled blob, as a hard link or as a file with its digest.
func (p *Pool) hasSame(pub *Published, d digest.Digest) bool {
	f, err := pub.OpenBlob(d)
	if err != nil {
		return false
	}
	defer f.Close()
	return p.blobs.is(f, d.Encoded()) || hasDigest(f, d)
}

// fill assembles the image in the stage, and records its origins next to its final location.
func (s *stage) fill(p *Pool, img *Image, parent *dir) error {
	for _, b := range img.Blobs {
		if err := linkOrCopy(p.blobs, b.Digest.Encoded(), s.dir); err != nil {
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
	return s.dir.sync()
}

// putFiles writes files to the stage and the origins next to the image, and syncs them together.
func (s *stage) putFiles(files map[string][]byte, parent *dir, fresh []Origin) error {
	text := mergeOrigins(parent, originFile, fresh)
	if text == nil {
		return writeFiles(s.dir, files)
	}
	files[originFile] = text
	if err := writeFiles(s.dir, files); err != nil {
		return err
	}
	return s.moveOrigins(parent)
}

// putList writes the manifest list next to the image, unless it is stored already, or removes it if list is nil.
func (s *stage) putList(parent *dir, list []byte) error {
	if list == nil {
		if err := parent.remove(listFile); err != nil && !isAbsent(err) {
			return err
		}
		return nil
	}
	if old, err := parent.read(listFile); err == nil && bytes.Equal(old, list) {
		return nil
	}
	if err := writeFile(s.dir, listFile, list); err != nil {
		return err
	}
	return s.dir.rename(listFile, parent, listFile)
}
