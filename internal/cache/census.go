package cache

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"osbuild-containers/internal/manifest"
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
	Links    uint64 // its names
	Changed  time.Time
}

// Open opens the file under one of its names for reading. The error is fs.ErrNotExist if that is not
// its name any more.
func (s Stored) Open(path string) (*os.File, error) {
	f, err := openFile(path)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err = unix.Fstat(int(f.Fd()), &st); err == nil && (st.Dev != s.Dev || st.Ino != s.Ino) {
		err = fs.ErrNotExist
	}
	if err != nil {
		f.Close()
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return f, nil
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

// Folder is what the image's folder is on disk: another one for each time that it is published.
func (p *Published) Folder() (Stored, error) {
	var st unix.Stat_t
	if err := unix.Fstat(p.dir, &st); err != nil {
		return Stored{}, &fs.PathError{Op: "stat", Path: p.path, Err: err}
	}
	return storedOf(&st, ""), nil
}

// Files returns the files that may be manifest lists, sorted: those published under a digest, and no larger
// than a list may be. Other sources of the host engine publish files there, too.
func (c *Cache) Files() ([]Stored, error) {
	names, err := os.ReadDir(c.files)
	if err != nil && !isAbsent(err) {
		return nil, fmt.Errorf("look for manifest lists: %w", err)
	}
	var found []Stored
	for _, n := range names {
		d, err := digest.Parse(n.Name())
		if err != nil || d.Algorithm() != digest.SHA256 {
			continue
		}
		if s, err := storedAt(unix.AT_FDCWD, c.FilePath(d), d); err == nil && s.Size <= manifest.MaxSize {
			found = append(found, s)
		}
	}
	return found, nil
}

// PooledPath is where a blob of the pool lies, or would lie.
func (c *Cache) PooledPath(d digest.Digest) string {
	return filepath.Join(c.containers, poolDir, "blobs", "sha256", d.Encoded())
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
	return storedAt(unix.AT_FDCWD, c.PooledPath(d), d)
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
	return storedOf(&st, d), nil
}

func storedOf(st *unix.Stat_t, d digest.Digest) Stored {
	return Stored{
		Digest: d, Size: st.Size, Dev: st.Dev, Ino: st.Ino, Links: uint64(st.Nlink), //nolint:unconvert // its type depends on the architecture
		Changed: time.Unix(st.Mtim.Unix()),
	}
}
