package cache

import (
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"osbuild-containers/internal/manifest"
)

// Published is an image that has its name, open for reading: whatever is published under the
// name meanwhile, this stays one image.
type Published struct {
	dir  int // of image/
	path string
}

// Look opens the image published under id. The error is fs.ErrNotExist if there is none. Requests
// may look at many thousands of images, so this and what follows are plain system calls.
func (c *Cache) Look(id digest.Digest) (*Published, error) {
	return look(c.ImagePath(id))
}

func look(path string) (*Published, error) {
	dir, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return &Published{dir: dir, path: path}, nil
}

// Close gives the image's folder up.
func (p *Published) Close() { _ = unix.Close(p.dir) }

// Path is where the image lies.
func (p *Published) Path() string { return p.path }

// BlobPath is where a blob of the image lies.
func (p *Published) BlobPath(blob digest.Digest) string { return filepath.Join(p.path, blob.Encoded()) }

// Manifest reads the image's manifest.
func (p *Published) Manifest() ([]byte, error) { return readAt(p.dir, manifestFile) }

// List reads the manifest list through which the image was pinned, nil if there is none.
func (p *Published) List() ([]byte, error) {
	raw, err := readAt(unix.AT_FDCWD, filepath.Join(filepath.Dir(p.path), listFile))
	if isAbsent(err) {
		return nil, nil
	}
	return raw, err
}

// Has says whether all these blobs are there, each with its size, and the version file with them.
func (p *Published) Has(blobs []manifest.Descriptor) bool {
	if !p.hasFile(versionFile, int64(len(version))) {
		return false
	}
	for _, b := range blobs {
		if !p.hasFile(b.Digest.Encoded(), b.Size) {
			return false
		}
	}
	return true
}

func (p *Published) hasFile(name string, size int64) bool {
	var st unix.Stat_t
	err := unix.Fstatat(p.dir, name, &st, unix.AT_SYMLINK_NOFOLLOW)
	return err == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Size == size
}

// Config reads the config blob. The error is ErrDigest, wrapped, if what is there is not it.
func (p *Published) Config(d manifest.Descriptor) ([]byte, error) {
	raw, err := readAt(p.dir, d.Digest.Encoded())
	if err != nil {
		return nil, err
	}
	if got := digest.FromBytes(raw); got != d.Digest {
		return nil, fmt.Errorf("config: %w: got %s, want %s", ErrDigest, got, d.Digest)
	}
	return raw, nil
}

// Signatures reads the signatures published with the image, in their order.
func (p *Published) Signatures() ([][]byte, error) {
	var sigs [][]byte
	for i := 1; ; i++ {
		sig, err := readAt(p.dir, signatureFile(i))
		if isAbsent(err) {
			return sigs, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read signature: %w", err)
		}
		sigs = append(sigs, sig)
	}
}

// readAt reads a regular file that is not larger than a manifest may be.
func readAt(dir int, name string) ([]byte, error) {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("%s is no regular file", name)
	}
	if st.Size > manifest.MaxSize {
		return nil, fmt.Errorf("%s is %d bytes long, the limit is %d", name, st.Size, manifest.MaxSize)
	}
	buf := make([]byte, st.Size)
	for n := 0; n < len(buf); {
		got, err := unix.Pread(fd, buf[n:], int64(n))
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return nil, &fs.PathError{Op: "read", Path: name, Err: err}
		case got == 0:
			return nil, &fs.PathError{Op: "read", Path: name, Err: io.ErrUnexpectedEOF}
		}
		n += got
	}
	return buf, nil
}
