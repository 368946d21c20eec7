// Package cache is the only writer below a cache that the host engine owns.
//
// The host reads two kinds of names: <cache>/org.osbuild.containers/<id>/image, a directory in
// the layout of containers/image's dir: transport, and <cache>/org.osbuild.files/<digest>, a
// manifest list. This package promises that such a name is either absent or complete,
// verified and on disk, whatever dies when:
//
//   - a blob is written to .pool/partial, hashed on the way, synced, and only then renamed
//     to its digest below .pool/blobs;
//   - an image is put together from hard links to such blobs in .pool/staging, synced, and
//     takes its name by one rename; one that needs repair is exchanged (renameat2), so
//     that a reader sees the old one or the new one, and one that is the same is left alone;
//   - locks are flock(2) on files that only the cache's owner can open, and die with their
//     holder, so nothing needs repair or unlocking after a crash. On NFS they hold only as
//     far as the server implements flock: where it does not, one process at a time may write
//     to the cache, since what another one writes to the same file is not what was hashed;
//   - success is reported when the name is on disk, whoever gave it: one that is young is
//     synced by each process that relies on it.
//
// Everything below the cache is opened through handles, from one on the cache itself, and no
// link is followed. What another user made, or can change, is refused (ErrForeign).
//
// The pool is an optimisation: remove .pool and every published image still works.
package cache

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"osbuild-containers/internal/resolve"
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
	// Limit is how long a lock is waited for that another process has; 0 is five minutes.
	Limit time.Duration
	// Note, if it is set, is told once of each longer wait, and who is waited for, and that another user's pool is left out.
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

// openTop opens the cache, "", or one of the two directories in it, once. The path to the cache may run through
// links, but for those that package resolve refuses; the cache may be a directory that all may write to if it has the
// sticky bit, so that they cannot touch what is ours.
func (c *Cache) openTop(name string) (*dir, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.top(name)
}

func (c *Cache) top(name string) (*dir, error) {
	if d := c.tops[name]; d != nil {
		return d, nil
	}
	var d *dir
	if name == "" {
		f, err := resolve.Dir(c.path)
		if err != nil {
			return nil, err
		}
		d = &dir{f: f, path: c.path}
		var st unix.Stat_t
		if err := unix.Fstat(d.fd(), &st); err != nil {
			return nil, d.failed("stat", "", err)
		}
		if st.Mode&unix.S_ISVTX != 0 {
			st.Mode &^= unix.S_IWOTH | unix.S_IWGRP
		}
		if why := distrust(&st); why != "" {
			d.close()
			return nil, &foreignError{c.path, why}
		}
	} else {
		in, err := c.top("")
		if err != nil {
			return nil, err
		}
		if d, err = in.open(name); err != nil {
			return nil, err
		}
	}
	c.tops[name] = d
	return d, nil
}

// makeTop is openTop for a directory that is made if it is missing, with what is missing above it, durably.
func (c *Cache) makeTop(name string) (*dir, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := c.top(""); isAbsent(err) {
		if err := makeDir(c.path); err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	in, err := c.top("")
	if err != nil {
		return nil, err
	}
	d, made, err := in.mkdir(name, dirMode)
	if err != nil {
		return nil, err
	}
	if made || d.isYoung() {
		if err := in.sync(); err != nil {
			d.close()
			return nil, err
		}
	}
	if old := c.tops[name]; old != nil && old.is(d.f, ".") {
		d.close()
		return old, nil
	}
	c.tops[name] = d
	return d, nil
}

// makeDir creates the directory and what is missing above it, durably. What another process made a moment ago is synced, too:
// that process may be killed before it does.
func makeDir(path string) error {
	parent := filepath.Dir(path)
	err := os.Mkdir(path, dirMode)
	if isAbsent(err) && parent != path {
		if err := makeDir(parent); err != nil {
			return err
		}
		err = os.Mkdir(path, dirMode)
	}
	switch {
	case err == nil:
		return syncDir(parent)
	case !errors.Is(err, fs.ErrExist):
		return err
	}
	fi, err := os.Stat(path)
	if err == nil && !fi.IsDir() {
		err = &fs.PathError{Op: "mkdir", Path: path, Err: unix.ENOTDIR}
	}
	if err != nil || parent == path || !isNew(path) {
		return err
	}
	if err := makeDir(parent); err != nil {
		return err
	}
	if err := syncDir(parent); !errors.Is(err, fs.ErrPermission) { // another user's, who made it
		return err
	}
	return nil
}

// isNew reports whether a directory was made a moment ago. Where the file system does not record that, each has been.
func isNew(path string) bool {
	var st unix.Statx_t
	err := unix.Statx(unix.AT_FDCWD, path, 0, unix.STATX_BTIME, &st)
	return err != nil || st.Mask&unix.STATX_BTIME == 0 || isRecent(st.Btime.Sec)
}

// young is how old a name is that a file system has made durable by itself: twice the longest interval at which one
// does, the 30 seconds of btrfs and xfs.
const young = time.Minute

func isRecent(seconds int64) bool {
	age := time.Since(time.Unix(seconds, 0))
	return age < young && age > -young
}

// isYoung reports whether a name was given or taken in the directory a moment ago.
func (d *dir) isYoung() bool {
	var st unix.Stat_t
	return unix.Fstat(d.fd(), &st) != nil || isRecent(int64(st.Ctim.Sec)) //nolint:unconvert // its type depends on the architecture
}

// syncDir makes the names in a directory above the cache durable.
func syncDir(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return (&dir{f: f, path: path}).sync()
}
