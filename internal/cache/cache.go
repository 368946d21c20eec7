// Package cache is the only writer below a cache that the host engine owns.
//
// The host reads two kinds of names: <cache>/org.osbuild.containers/<id>/image, a directory in
// the layout of containers/image's dir: transport, and <cache>/org.osbuild.files/<digest>, a
// manifest list. This package promises that such a name is either absent or complete,
// verified and on disk, whatever dies when:
//
//   - a blob is written to .pool/partial, hashed on the way, synced, and only then renamed
//     to its digest below .pool/blobs;
//   - an image is assembled from hard links to such blobs in .pool/staging, synced, and
//     takes its name by one rename; one that needs repair is exchanged (renameat2), so
//     that a reader sees the old one or the new one, and one that is the same is left alone;
//   - locks are flock(2) on files that only the cache's owner can open, and die with their
//     holder, so nothing needs repair or unlocking after a crash. On NFS they hold only as
//     far as the server implements flock: where it does not, one process at a time may write
//     to the cache, since what another one writes to the same file is not what was hashed;
//   - success is reported when the name is on disk, whichever process gave it: a young name is
//     synced by each process that relies on it.
//
// Everything below the cache is opened through handles, from one on the cache itself, and no
// link is followed. What another user made, or can change, is refused (ErrForeign).
//
// The pool is an optimisation: remove .pool and every published image still works.
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

// Names below the cache that the host engine knows, and ours.
const (
	containersDir = "org.osbuild.containers"
	filesDir      = "org.osbuild.files"
	imageDir      = "image"
	poolDir       = ".pool"
	manifestFile  = "manifest.json"
	versionFile   = "version"
	// listFile is stored next to image/: the manifest list through which the image was pinned.
	listFile = "manifest-list.json"
	// version is the content of the file of that name, as the dir: transport writes it.
	version = "Directory Transport Version: 1.1\n"
)

// Modes of what is published, less what the umask takes away, and of what is this user's alone. The group may not write
// in any case: a cache that it may write to can be one that others refuse.
const (
	dirMode     = 0o755
	fileMode    = 0o644
	privateMode = 0o700
	lockMode    = 0o600
)

// umask is that of this process. It is read, not set and set back, which other threads would see.
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

// published is the mode that something has when it is published.
func published(mode fs.FileMode) fs.FileMode { return mode &^ umask() }

// Cache is one cache of the host engine, osbuild's <store>/sources.
type Cache struct {
	// Limit is the longest wait for the lock of another process; 0 is five minutes.
	Limit time.Duration
	// Note, if it is set, is called once for each longer wait, with the holder of the lock, and for another user's pool that is left out.
	Note func(format string, args ...any)

	path       string
	containers string
	files      string

	noteClosed sync.Once

	mu   sync.Mutex
	tops map[string]*dir // that were opened: the cache, "", and the two directories in it
}

// Open returns the cache at path, which need not exist yet. Nothing is written.
func Open(path string) *Cache {
	return &Cache{path: path, containers: filepath.Join(path, containersDir), files: filepath.Join(path, filesDir), tops: map[string]*dir{}}
}

// ImagePath is the directory under which the image with that id is, or would be, published.
func (c *Cache) ImagePath(id digest.Digest) string {
	return filepath.Join(c.containers, id.String(), imageDir)
}

// FilePath is the file under which the manifest list with that digest is, or would be, published.
func (c *Cache) FilePath(d digest.Digest) string {
	return filepath.Join(c.files, d.String())
}
