package cache

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"osbuild-containers/internal/manifest"
)

// Published is a published image that is open for reading. It refers to the same image even if another one is
// published under its id meanwhile.
type Published struct {
	image      dir
	containers *dir
	id         string // the directory that contains image/, relative to containers
	recent     bool   // its name may not be on disk
	used       int64  // when the version file was last accessed, seconds since 1970, if Has has seen it
}

// OpenImage opens the image published under id. The error is fs.ErrNotExist if there is none, and ErrForeign if
// another user can change it. A request may open thousands of images, so the methods below use plain system calls.
// The directory of the id is checked but not kept open: its parent cannot be changed by other users.
func (c *Cache) OpenImage(id digest.Digest) (*Published, error) {
	containers, err := c.openTop(containersDir)
	if err != nil {
		return nil, err
	}
	pub := &Published{containers: containers, id: id.String()}
	st, err := containers.checkDir(pub.id)
	if err != nil {
		return nil, err
	}
	pub.recent = isRecent(int64(st.Ctim.Sec)) //nolint:unconvert // its type depends on the architecture
	if pub.image, err = containers.openForLookup(pub.beside(imageDir)); err != nil {
		return nil, err
	}
	return pub, nil
}

// IsRecent reports whether the image was so new when it was opened that its name may not be on disk; Sync makes sure of it.
func (p *Published) IsRecent() bool { return p.recent }

// beside returns the path of a file next to image/.
func (p *Published) beside(name string) string { return p.id + "/" + name }

// Check returns ErrForeign if another user owns, or can change, the image published under id.
func (c *Cache) Check(id digest.Digest) error {
	pub, err := c.OpenImage(id)
	if err == nil {
		err = pub.check()
		pub.Close()
	}
	if errors.Is(err, ErrForeign) {
		return err
	}
	return nil
}

func (p *Published) check() error {
	names, err := p.image.names()
	if err != nil {
		return nil //nolint:nilerr // damage is reported elsewhere
	}
	for _, n := range names {
		if st, err := p.image.stat(n); err == nil {
			if why := distrust(&st); why != "" && st.Mode&unix.S_IFMT != unix.S_IFLNK { // a symbolic link is damage: it is not followed, and replaced
				return &foreignError{p.image.join(n), why}
			}
		}
	}
	return nil
}

// Close closes the image's directory.
func (p *Published) Close() { p.image.close() }

// openImageDir opens the directory that contains image/.
func (c *Cache) openImageDir(id digest.Digest) (*dir, error) {
	containers, err := c.openTop(containersDir)
	if err != nil {
		return nil, err
	}
	return containers.open(id.String())
}

// Path returns the path of image/.
func (p *Published) Path() string { return p.image.path }

// BlobPath returns the path of a blob of the image.
func (p *Published) BlobPath(blob digest.Digest) string { return p.image.join(blob.Encoded()) }

// OpenBlob opens a blob of the image.
func (p *Published) OpenBlob(blob digest.Digest) (*os.File, error) {
	return p.image.openFile(blob.Encoded())
}

// Manifest reads the image's manifest.
func (p *Published) Manifest() ([]byte, error) { return p.image.read(manifestFile) }

// List reads the manifest list through which the image was pinned, nil if there is none.
func (p *Published) List() ([]byte, error) {
	raw, err := p.containers.read(p.beside(listFile))
	if isAbsent(err) {
		return nil, nil
	}
	return raw, err
}

// Has reports whether the image has all these blobs, with their sizes, and the version file.
func (p *Published) Has(blobs []manifest.Descriptor) bool {
	var st unix.Stat_t
	if !p.hasFile(versionFile, int64(len(version)), &st) {
		return false
	}
	p.used = int64(st.Atim.Sec) //nolint:unconvert // its type depends on the architecture
	for _, b := range blobs {
		if !p.hasFile(b.Digest.Encoded(), b.Size, &st) {
			return false
		}
	}
	return true
}

// hasFile reports whether the image has a regular file with that size, and describes it.
func (p *Published) hasFile(name string, size int64, st *unix.Stat_t) bool {
	err := unix.Fstatat(p.image.fd(), name, st, unix.AT_SYMLINK_NOFOLLOW)
	return err == nil && st.Size == size && st.Mode&unix.S_IFMT == unix.S_IFREG && distrust(st) == ""
}

// Config reads the config blob. The error is a manifest.MismatchError if the file has another digest.
func (p *Published) Config(d manifest.Descriptor) ([]byte, error) {
	raw, err := p.image.read(d.Digest.Encoded())
	if err != nil {
		return nil, err
	}
	if got := digest.FromBytes(raw); got != d.Digest {
		return nil, manifest.Mismatch("config", got, d.Digest)
	}
	return raw, nil
}

// Signatures reads the signatures published with the image, in order.
func (p *Published) Signatures() ([][]byte, error) {
	return readSignatures(func(i int) ([]byte, error) { return p.image.read(signatureFile(i)) })
}

// read reads a regular file no larger than a manifest may be.
func (d *dir) read(name string) ([]byte, error) {
	fd, err := unix.Openat(d.fd(), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, &fs.PathError{Op: "stat", Path: name, Err: err}
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, fmt.Errorf("%s is not a regular file", name)
	}
	if why := distrust(&st); why != "" {
		return nil, &foreignError{d.join(name), why}
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
