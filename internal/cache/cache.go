// Package cache is the only writer below a cache that the host engine owns.
//
// The host reads two kinds of names: <cache>/org.osbuild.containers/<id>/image, a folder in
// the layout of containers/image's dir: transport, and <cache>/org.osbuild.files/<digest>, a
// manifest list. This package promises that such a name is either absent or complete,
// verified and on disk, whatever dies when:
//
//   - a blob is written to .pool/partial, hashed on the way, synced, and only then renamed
//     to its digest below .pool/blobs;
//   - an image is put together from hard links to such blobs in .pool/staging, synced, and
//     takes its name by one rename; one that needs repair is exchanged (renameat2), so
//     that a reader sees the old one or the new one, and one that is the same is left alone;
//   - locks are flock(2) on the very files they guard and die with their holder, so
//     nothing needs repair or unlocking after a crash. On NFS they hold only as far as the
//     server implements flock: where it does not, one process at a time may write to
//     the cache, since what another one writes to the same file is not what was hashed.
//
// The pool is an optimisation: remove .pool and every published image still works.
package cache

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"
)

// Names below the cache that the host engine knows, and ours.
const (
	containersDir = "org.osbuild.containers"
	filesDir      = "org.osbuild.files"
	imageDir      = "image"
	poolDir       = ".pool"
	manifestFile  = "manifest.json"
	versionFile   = "version"
	// listFile lies beside image/: the manifest list through which the image was pinned.
	listFile = "manifest-list.json"
	// version is the content of the file of that name, as the dir: transport writes it.
	version = "Directory Transport Version: 1.1\n"
)

// Modes of what is published; a umask must not make a cache unreadable for a sandbox.
const (
	dirMode  = 0o755
	fileMode = 0o644
)

// Cache is one cache of the host engine, osbuild's <store>/sources.
type Cache struct {
	containers string
	files      string
}

// Open returns the cache below dir, which need not exist yet. Nothing is written.
func Open(dir string) *Cache {
	return &Cache{containers: filepath.Join(dir, containersDir), files: filepath.Join(dir, filesDir)}
}

// ImagePath is the folder under which the image with that id is, or would be, published.
func (c *Cache) ImagePath(id digest.Digest) string {
	return filepath.Join(c.containers, id.String(), imageDir)
}

// FilePath is the file under which the manifest list with that digest is, or would be, published.
func (c *Cache) FilePath(d digest.Digest) string {
	return filepath.Join(c.files, d.String())
}

// makeDir creates dir and what is missing above it, durably, with modes that do not depend on the
// umask.
func makeDir(dir string) error {
	made, err := makeDirs(dir)
	if err != nil || made == "" {
		return err
	}
	for {
		parent := filepath.Dir(dir)
		if err := syncDir(parent); err != nil || dir == made {
			return err
		}
		dir = parent
	}
}

// makeDirs is makeDir without the sync. It returns the topmost folder it made, "" for none.
func makeDirs(dir string) (top string, err error) {
	top = dir
	err = os.Mkdir(dir, dirMode)
	if isAbsent(err) {
		if top, err = makeDirs(filepath.Dir(dir)); err != nil {
			return "", err
		}
		if top == "" { // somebody else made it in between
			top = dir
		}
		err = os.Mkdir(dir, dirMode)
	}
	if errors.Is(err, fs.ErrExist) {
		if fi, e := os.Stat(dir); e == nil && !fi.IsDir() {
			return "", &fs.PathError{Op: "mkdir", Path: dir, Err: unix.ENOTDIR}
		}
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return top, os.Chmod(dir, dirMode)
}

// syncDir makes the names in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, unix.EINVAL) { // a file system without directory sync
		return fmt.Errorf("sync folder %s: %w", dir, err)
	}
	return nil
}
