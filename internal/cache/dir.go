package cache

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"sync"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/userns"
)

// ErrForeign is the error for a file or directory in the cache that another user owns or can change.
var ErrForeign = errors.New("the cache is not this user's alone")

// foreignHint is the remedy for ErrForeign.
var foreignHint = hint.New("what a cache holds belongs to root or to the user who runs this, is not a link, and no one else may write to it: check it, then remove it or give it the right owner and mode, or name another cache")

// foreignError is ErrForeign with the path and the reason.
type foreignError struct{ path, why string }

func (e *foreignError) Error() string { return e.path + " " + e.why }

func (e *foreignError) Is(target error) bool { return target == ErrForeign }

// dir is an open directory at or below the cache. Names are single components relative to it, and symbolic links are
// never followed: for one component, openat with O_NOFOLLOW is equivalent to openat2 with RESOLVE_BENEATH and
// RESOLVE_NO_SYMLINKS, and does not need Linux 5.6.
type dir struct {
	f    *os.File // nil for a directory opened with O_PATH; then raw is set
	path string   // for messages
	raw  int
}

func (d *dir) fd() int {
	if d.f == nil {
		return d.raw
	}
	return int(d.f.Fd())
}

func (d *dir) close() {
	if d.f == nil {
		_ = unix.Close(d.raw)
		return
	}
	d.f.Close()
}

func (d *dir) join(name string) string { return d.path + "/" + name }

// failed wraps the error of a system call, adding the path.
func (d *dir) failed(op, name string, err error) error {
	runtime.KeepAlive(d.f)
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: d.join(name), Err: err}
}

// openat opens a name in the directory.
func (d *dir) openat(name string, flags int, mode uint32) (*os.File, error) {
	for {
		fd, err := unix.Openat(d.fd(), name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, mode)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, d.failed("open", name, err)
		}
		return os.NewFile(uintptr(fd), d.join(name)), nil
	}
}

// open opens a subdirectory that only this user or root can change.
func (d *dir) open(name string) (*dir, error) {
	sub, err := d.openAny(name)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err = unix.Fstat(sub.fd(), &st); err == nil {
		if why := distrust(&st); why != "" {
			err = &foreignError{sub.path, why}
		}
	}
	if err != nil {
		sub.close()
		return nil, err
	}
	return sub, nil
}

// openForLookup opens a subdirectory for looking up names only. It takes two system calls, since there may be thousands of
// images.
func (d *dir) openForLookup(name string) (dir, error) {
	fd, err := unix.Openat(d.fd(), name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return dir{}, d.explainNotDir(name, d.failed("open", name, err))
	}
	sub := dir{path: d.join(name), raw: fd}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil {
		if why := distrust(&st); why != "" {
			err = &foreignError{sub.path, why}
		}
	}
	if err != nil {
		_ = unix.Close(fd)
		return dir{}, err
	}
	return sub, nil
}

// checkDir describes a subdirectory. It returns an error if name is not a directory, or another user can change it.
func (d *dir) checkDir(name string) (unix.Stat_t, error) {
	st, err := d.stat(name)
	if err != nil {
		return st, err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
	case unix.S_IFLNK:
		return st, &foreignError{d.join(name), "is a symbolic link"}
	default:
		return st, d.failed("open", name, unix.ENOTDIR)
	}
	if why := distrust(&st); why != "" {
		return st, &foreignError{d.join(name), why}
	}
	return st, nil
}

// explainNotDir explains ENOTDIR for a symbolic link.
func (d *dir) explainNotDir(name string, err error) error {
	if errors.Is(err, unix.ENOTDIR) {
		if st, e := d.stat(name); e == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK {
			return &foreignError{d.join(name), "is a symbolic link"}
		}
	}
	return err
}

// openAny opens a subdirectory without checking who can change it, to remove it or something in it.
func (d *dir) openAny(name string) (*dir, error) {
	f, err := d.openat(name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, d.explainNotDir(name, err)
	}
	return &dir{f: f, path: d.join(name)}, nil
}

// openIn opens a directory several levels down.
func (d *dir) openIn(names ...string) (*dir, error) {
	at := d
	for _, name := range names {
		next, err := at.open(name)
		if at != d {
			at.close()
		}
		if err != nil {
			return nil, err
		}
		at = next
	}
	return at, nil
}

// mkdir creates a subdirectory unless it exists, and opens it.
func (d *dir) mkdir(name string, mode uint32) (sub *dir, made bool, err error) {
	for {
		err = unix.Mkdirat(d.fd(), name, mode)
		if err != nil && err != unix.EEXIST {
			return nil, false, d.failed("mkdir", name, err)
		}
		made = err == nil
		sub, err = d.open(name)
		if !isAbsent(err) { // absent: removed since
			return sub, made, err
		}
	}
}

// openFile opens a regular file, without blocking on other types.
func (d *dir) openFile(name string) (*os.File, error) {
	f, err := d.openat(name, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err = unix.Fstat(int(f.Fd()), &st); err == nil {
		err = checkFile(&st, f.Name())
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// checkFile returns an error if st is not a regular file, or another user can change it.
func checkFile(st *unix.Stat_t, path string) error {
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return &fs.PathError{Op: "open", Path: path, Err: errNotRegular}
	}
	if why := distrust(st); why != "" {
		return &foreignError{path, why}
	}
	return nil
}

var errNotRegular = errors.New("not a regular file")

func (d *dir) stat(name string) (st unix.Stat_t, err error) {
	err = d.failed("stat", name, unix.Fstatat(d.fd(), name, &st, unix.AT_SYMLINK_NOFOLLOW))
	return st, err
}

// is reports whether name still refers to the open file.
func (d *dir) is(f *os.File, name string) bool {
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) != nil {
		return false
	}
	now, err := d.stat(name)
	return err == nil && now.Dev == st.Dev && now.Ino == st.Ino
}

// names returns the names in the directory, sorted.
func (d *dir) names() ([]string, error) {
	f, err := d.openat(".", unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

func (d *dir) remove(name string) error {
	return d.failed("remove", name, unix.Unlinkat(d.fd(), name, 0))
}

func (d *dir) rmdir(name string) error {
	return d.failed("remove", name, unix.Unlinkat(d.fd(), name, unix.AT_REMOVEDIR))
}

// removeAll removes name and everything below it. It is not an error if name does not exist.
func (d *dir) removeAll(name string) error {
	err := unix.Unlinkat(d.fd(), name, 0)
	if err == nil || err == unix.ENOENT {
		return nil
	}
	if err != unix.EISDIR && err != unix.EPERM {
		return d.failed("remove", name, err)
	}
	sub, err := d.openAny(name)
	if err != nil {
		return err
	}
	defer sub.close()
	names, err := sub.names()
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := sub.removeAll(n); err != nil {
			return err
		}
	}
	return d.rmdir(name)
}

// rename moves name to another directory under the name as, replacing it if it exists.
func (d *dir) rename(name string, to *dir, as string) error {
	return d.renameFlags(name, to, as, 0)
}

func (d *dir) renameFlags(name string, to *dir, as string, flags uint) (err error) {
	if flags == 0 {
		err = unix.Renameat(d.fd(), name, to.fd(), as)
	} else {
		err = unix.Renameat2(d.fd(), name, to.fd(), as, flags)
	}
	runtime.KeepAlive(d.f)
	runtime.KeepAlive(to.f)
	if err != nil {
		return &os.LinkError{Op: "rename", Old: d.join(name), New: to.join(as), Err: err}
	}
	return nil
}

func (d *dir) link(name string, to *dir, as string) error {
	err := unix.Linkat(d.fd(), name, to.fd(), as, 0)
	runtime.KeepAlive(d.f)
	runtime.KeepAlive(to.f)
	if err != nil {
		return &os.LinkError{Op: "link", Old: d.join(name), New: to.join(as), Err: err}
	}
	return nil
}

// create creates a new file for writing.
func (d *dir) create(name string) (*os.File, error) {
	return d.openat(name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, fileMode)
}

// sync syncs the names in the directory to disk.
func (d *dir) sync() error {
	if err := d.f.Sync(); err != nil && !errors.Is(err, unix.EINVAL) { // the file system does not sync directories
		return fmt.Errorf("sync directory %s: %w", d.path, err)
	}
	return nil
}

// syncAll syncs the whole file system. It returns an error for FUSE, which does not pass the call on.
func (d *dir) syncAll() error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(d.fd(), &fs); err != nil {
		return err
	}
	if fs.Type == unix.FUSE_SUPER_MAGIC {
		return errors.ErrUnsupported
	}
	return unix.Syncfs(d.fd())
}

// freed returns how many bytes removing name would free: those of blobs without another name.
func (d *dir) freed(name string) (total int64) {
	st, err := d.stat(name)
	switch {
	case err != nil:
	case st.Mode&unix.S_IFMT == unix.S_IFREG && isBlobName(name) && st.Nlink == 1:
		total = st.Size
	case st.Mode&unix.S_IFMT == unix.S_IFDIR:
		sub, err := d.openAny(name)
		if err != nil {
			return 0
		}
		defer sub.close()
		names, _ := sub.names() // unreadable directories are not counted
		for _, n := range names {
			total += sub.freed(n)
		}
	}
	return total
}

// isID reports whether name is that of an image or a manifest list.
func isID(name string) bool {
	d, err := digest.Parse(name)
	return err == nil && d.Algorithm() == digest.SHA256
}

func tempName(prefix string) string { return prefix + rand.Text() }

// distrust returns how another user could change a file or directory, or "". Write permission for a group is accepted
// only for root's group and those of this process: giving a file to that group, as with umask 002, trusts its
// members. In a user namespace, unmapped owners and groups are not trusted, since they may be anyone's.
func distrust(st *unix.Stat_t) string {
	switch {
	case st.Uid != 0 && int(st.Uid) != euid || userns.Unmapped(st.Uid):
		return fmt.Sprintf("belongs to user %d, and this process is user %d", st.Uid, euid)
	case st.Mode&unix.S_IWOTH != 0:
		return fmt.Sprintf("can be changed by every user: its mode is %04o", st.Mode&0o7777)
	case st.Mode&unix.S_IWGRP != 0 && (!slices.Contains(groups(), int(st.Gid)) || userns.Unmapped(st.Gid)):
		return fmt.Sprintf("can be changed by group %d, which this process is not in: its mode is %04o", st.Gid, st.Mode&0o7777)
	}
	return ""
}

var euid = os.Geteuid()

// groups returns the groups that may have write permission in a cache.
var groups = sync.OnceValue(func() []int {
	own, _ := os.Getgroups() // on failure, fewer groups are trusted
	return append(own, 0, os.Getegid())
})
