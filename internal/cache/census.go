package cache

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// Images returns the ids of all images that are published, sorted; none where there is no cache.
func (c *Cache) Images() ([]digest.Digest, error) {
	names, err := os.ReadDir(c.containers)
	if err != nil && !isAbsent(err) {
		return nil, fmt.Errorf("look for images: %w", err)
	}
	ids := make([]digest.Digest, 0, len(names))
	for _, n := range names {
		id, err := digest.Parse(n.Name())
		if err != nil || id.Algorithm() != digest.SHA256 {
			continue
		}
		if fi, err := os.Lstat(c.ImagePath(id)); err == nil && fi.IsDir() {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// Origins are the places where the image was fetched from, as far as that is known: nothing is
// recorded of images that osbuild's own sources fetched.
func (p *Published) Origins() ([]Origin, error) { return readOrigins(filepath.Dir(p.path)) }

// Stored is a file that holds a blob. Two with the same Dev and Ino share their bytes on disk.
type Stored struct {
	Digest   digest.Digest
	Size     int64 // bytes
	Dev, Ino uint64
	Changed  time.Time
}

// Stored returns the file that holds a blob of the image. The error is fs.ErrNotExist if it is not there.
func (p *Published) Stored(blob digest.Digest) (Stored, error) {
	return storedAt(p.dir, blob.Encoded(), blob)
}

// Published is when the image was put together.
func (p *Published) Published() (time.Time, error) {
	s, err := storedAt(p.dir, manifestFile, "")
	return s.Changed, err
}

// Pooled returns the blobs in the pool, sorted, those that no image has among them.
func (c *Cache) Pooled() ([]Stored, error) {
	return storedIn(filepath.Join(c.containers, poolDir, "blobs", "sha256"))
}

// Partial returns what there is, sorted, of blobs that are being downloaded or whose download
// was interrupted.
func (c *Cache) Partial() ([]Stored, error) {
	return storedIn(filepath.Join(c.containers, poolDir, "partial"))
}

// PooledBlob returns the blob of the pool with that digest, complete and verified. The error is
// fs.ErrNotExist if it is not there.
func (c *Cache) PooledBlob(d digest.Digest) (Stored, error) {
	return storedAt(unix.AT_FDCWD, filepath.Join(c.containers, poolDir, "blobs", "sha256", d.Encoded()), d)
}

// PartialBlob returns what there is of a blob that is not complete. The error is fs.ErrNotExist if it
// is nothing.
func (c *Cache) PartialBlob(d digest.Digest) (Stored, error) {
	return storedAt(unix.AT_FDCWD, filepath.Join(c.containers, poolDir, "partial", d.Encoded()), d)
}

// storedIn returns the files in a folder that are called like blobs. A pool changes while it is
// looked at: what is gone meanwhile is left out.
func storedIn(dir string) ([]Stored, error) {
	names, err := os.ReadDir(dir)
	if err != nil && !isAbsent(err) {
		return nil, fmt.Errorf("look into the blob pool: %w", err)
	}
	found := make([]Stored, 0, len(names))
	for _, n := range names {
		d := digest.NewDigestFromEncoded(digest.SHA256, n.Name())
		if d.Validate() != nil {
			continue
		}
		if s, err := storedAt(unix.AT_FDCWD, filepath.Join(dir, n.Name()), d); err == nil {
			found = append(found, s)
		}
	}
	return found, nil
}

func storedAt(dir int, name string, d digest.Digest) (Stored, error) {
	var st unix.Stat_t
	if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return Stored{}, &os.PathError{Op: "stat", Path: name, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return Stored{}, fmt.Errorf("%s is no regular file", name)
	}
	return Stored{Digest: d, Size: st.Size, Dev: st.Dev, Ino: st.Ino, Changed: time.Unix(st.Mtim.Unix())}, nil
}
