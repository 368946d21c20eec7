// Package cache manages a cache of osbuild, and is the only package that writes to one.
//
// osbuild reads two kinds of names: <cache>/org.osbuild.containers/<id>/image, a directory in the layout of
// containers/image's dir: transport, and <cache>/org.osbuild.files/<digest>, a manifest list. This package guarantees
// that such a name is either absent or complete, verified and on disk, after a crash at any time:
//
//   - a blob is written to .pool/partial and hashed while it is written; it is synced, and only then renamed
//     to its digest below .pool/blobs;
//   - an image is assembled from hard links to such blobs in .pool/staging, synced, and
//     published by one rename; an image that needs repair is exchanged (renameat2), so
//     that a reader sees the old one or the new one, and an identical one is not changed;
//   - locks are flock(2) on files that only the cache's owner can open. The kernel releases them when
//     their holder dies, so nothing needs repair or unlocking after a crash. NFS servers may not
//     implement flock: then only one process at a time may write to the cache, because
//     concurrent writes to a file would not match its hash;
//   - success is reported only after the name is on disk, whichever process published it: each
//     process that relies on a recent name syncs it.
//
// Files and directories below the cache are opened relative to a handle on the cache, and symbolic links are never
// followed. A file that another user owns or can change is refused (ErrForeign).
//
// The pool is an optimisation: without .pool, published images remain usable.
package cache

import (
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
)

// Names below the cache that osbuild knows, and our own.
const (
	containersDir = "org.osbuild.containers"
	filesDir      = "org.osbuild.files"
	imageDir      = "image"
	poolDir       = ".pool"
	manifestFile  = "manifest.json"
	versionFile   = "version"
	// listFile holds the manifest list through which the image was pinned, next to image/.
	listFile = "manifest-list.json"
	// version is the content of the version file, as written by the dir: transport.
	version = "Directory Transport Version: 1.1\n"
)

// Modes of published files and directories, before the umask, and of private ones. Group write permission is always
// removed, since other processes may refuse a cache that its group can write to.
const (
	dirMode     = 0o755
	fileMode    = 0o644
	privateMode = 0o700
	lockMode    = 0o600
)

// umask is the umask of this process. It is read from /proc: setting and restoring it would affect other threads.
var umask = sync.OnceValue(func() fs.FileMode {
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		if text, ok := strings.CutPrefix(line, "Umask:"); ok {
			if mask, err := strconv.ParseUint(strings.TrimSpace(text), 8, 32); err == nil {
				return fs.FileMode(mask) & fs.ModePerm
			}
		}
	}
	return 0o077 // unknown: for the owner alone
})

// published returns the mode of a file or directory when it is published.
func published(mode fs.FileMode) fs.FileMode { return mode &^ umask() }

// Cache is a cache of osbuild, <store>/sources.
type Cache struct {
	// Limit is the longest wait for the lock of another process; zero means five minutes.
	Limit time.Duration
	// Note, if set, is called once for each longer wait, with the holder of the lock, and when another user's pool is
	// not used.
	Note func(format string, args ...any)

	path       string
	containers string
	files      string

	noteClosed sync.Once

	mu   sync.Mutex
	tops map[string]*dir // open directories by name: the cache (""), and the two directories in it
}

// Open returns the cache at path, which need not exist. It writes nothing.
func Open(path string) *Cache {
	return &Cache{path: path, containers: filepath.Join(path, containersDir), files: filepath.Join(path, filesDir), tops: map[string]*dir{}}
}

// ImagePath returns the path at which the image with that id is, or would be, published.
func (c *Cache) ImagePath(id digest.Digest) string {
	return filepath.Join(c.containers, id.String(), imageDir)
}

// FilePath returns the path at which the manifest list with that digest is, or would be, published.
func (c *Cache) FilePath(d digest.Digest) string {
	return filepath.Join(c.files, d.String())
}
