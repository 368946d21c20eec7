package cache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"osbuild-containers/internal/manifest"
)

// Images returns the ids of all published images, sorted. Without a cache it returns none.
func (c *Cache) Images() ([]digest.Digest, error) {
	containers, names, err := c.list(containersDir)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	ids := make([]digest.Digest, 0, len(names))
	for _, n := range names {
		if !isID(n) {
			continue
		}
		// Opening each component would take two more calls for each of thousands of images; nothing is read here.
		if st, err := containers.stat(n + "/" + imageDir); err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
			ids = append(ids, digest.Digest(n))
		}
	}
	return ids, nil
}

// list opens a directory of the cache and returns its names, or none if it does not exist.
func (c *Cache) list(name string) (*dir, []string, error) {
	d, err := c.openTop(name)
	if isAbsent(err) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	names, err := d.names()
	return d, names, err
}

// Origins returns the known sources of the image. Images fetched by osbuild's own sources have none recorded.
func (p *Published) Origins() ([]Origin, error) {
	return readOrigins(p.containers, p.beside(originFile))
}

// Stored describes a file that holds a blob. Files with the same FileID are hard links to each other.
type Stored struct {
	Digest digest.Digest
	Size   int64 // bytes
	FileID
	Links   uint64    // number of names
	Changed time.Time // modification time
}

// A FileID identifies a file on disk independently of its names.
type FileID struct{ Dev, Ino uint64 }

// Is reports whether f is this file.
func (s Stored) Is(f *os.File) bool {
	var st unix.Stat_t
	return unix.Fstat(int(f.Fd()), &st) == nil && st.Dev == s.Dev && st.Ino == s.Ino
}

// Stored returns the file that holds a blob of the image. The error is fs.ErrNotExist if there is none.
func (p *Published) Stored(blob digest.Digest) (Stored, error) {
	return p.image.stored(blob.Encoded(), blob)
}

// Created returns when the image was published.
func (p *Published) Created() (time.Time, error) {
	s, err := p.image.stored(manifestFile, "")
	return s.Changed, err
}

// Stat describes the image's directory, which is a new one after each publication.
func (p *Published) Stat() (Stored, error) {
	var st unix.Stat_t
	if err := unix.Fstat(p.image.fd(), &st); err != nil {
		return Stored{}, p.image.failed("stat", "", err)
	}
	return storedOf(&st, ""), nil
}

// Files returns the files that may be manifest lists, sorted: those named by a digest and no larger than a list may
// be. Other sources of osbuild publish files in the same directory.
func (c *Cache) Files() ([]Stored, error) {
	files, names, err := c.list(filesDir)
	if err != nil {
		return nil, fmt.Errorf("list manifest lists: %w", err)
	}
	var found []Stored
	for _, n := range names {
		if !isID(n) {
			continue
		}
		if s, err := files.stored(n, digest.Digest(n)); err == nil && s.Size <= manifest.MaxSize {
			found = append(found, s)
		}
	}
	return found, nil
}

// PooledPath returns the path of a blob in the pool, whether or not it exists.
func (c *Cache) PooledPath(d digest.Digest) string {
	return filepath.Join(c.containers, poolDir, "blobs", "sha256", d.Encoded())
}

// Pooled returns the blobs in the pool, sorted, including those that no image uses. Another user's pool counts as
// empty.
func (c *Cache) Pooled() ([]Stored, error) { return c.storedIn("blobs", "sha256") }

// Partial returns the partial blobs, sorted: downloads that are running or were interrupted.
func (c *Cache) Partial() ([]Stored, error) { return c.storedIn("partial") }

// PooledBlob returns the pool's file for the blob with that digest, which is complete and was verified. The error is
// fs.ErrNotExist if there is none.
func (c *Cache) PooledBlob(d digest.Digest) (Stored, error) {
	return c.storedBlob(d, "blobs", "sha256")
}

// PartialBlob returns the partial file of a blob. The error is fs.ErrNotExist if there is none.
func (c *Cache) PartialBlob(d digest.Digest) (Stored, error) { return c.storedBlob(d, "partial") }

func (c *Cache) storedBlob(d digest.Digest, names ...string) (Stored, error) {
	in, err := c.openPool(names...)
	if err != nil {
		return Stored{}, err
	}
	defer in.close()
	return in.stored(d.Encoded(), d)
}

// storedIn returns the files named by a digest in a directory of the pool. It skips files that are removed meanwhile.
func (c *Cache) storedIn(path ...string) ([]Stored, error) {
	in, err := c.openPool(path...)
	if errors.Is(err, fs.ErrPermission) && c.Note != nil {
		c.noteClosed.Do(func() { c.Note("the blob pool of %s is left out: only the cache's owner can read it", c.path) })
	}
	if isAbsent(err) || errors.Is(err, fs.ErrPermission) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the blob pool: %w", err)
	}
	defer in.close()
	names, err := in.names()
	if err != nil {
		return nil, fmt.Errorf("list the blob pool: %w", err)
	}
	found := make([]Stored, 0, len(names))
	for _, n := range names {
		if !isBlobName(n) {
			continue
		}
		if s, err := in.stored(n, digest.NewDigestFromEncoded(digest.SHA256, n)); err == nil {
			found = append(found, s)
		}
	}
	return found, nil
}

func (d *dir) stored(name string, blob digest.Digest) (Stored, error) {
	st, err := d.stat(name)
	if err != nil {
		return Stored{}, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return Stored{}, fmt.Errorf("%s is not a regular file", name)
	}
	return storedOf(&st, blob), nil
}

func storedOf(st *unix.Stat_t, d digest.Digest) Stored {
	return Stored{
		Digest: d, Size: st.Size, FileID: FileID{st.Dev, st.Ino}, Links: uint64(st.Nlink), //nolint:unconvert // its type depends on the architecture
		Changed: time.Unix(st.Mtim.Unix()),
	}
}
