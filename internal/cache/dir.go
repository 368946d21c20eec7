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

// ErrForeign is the error of a file or directory below the cache that another user made, or can change.
var ErrForeign = errors.New("the cache is not this user's alone")

// ForeignHint is the remedy for ErrForeign.
var ForeignHint = hint.New("what a cache holds belongs to root or to the user who runs this, is not a link, and no one else may write to it: check it, then remove it or give it the right owner and mode, or name another cache")

// foreignError is ErrForeign with the path and the reason.
type foreignError struct{ path, why string }

func (e *foreignError) Error() string { return e.path + " " + e.why }

func (e *foreignError) Is(target error) bool { return target == ErrForeign }

// dir is an open directory at or below the cache. Names are relative to it, single components, and never
// followed if they are links: for one component, openat with O_NOFOLLOW is what openat2 is with
// RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS, and needs no Linux 5.6.
type dir struct {
	f    *os.File // nil if only names are used (O_PATH): then raw is set
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

// failed is the error of a call, which names the path.
func (d *dir) failed(op, name string, err error) error {
	runtime.KeepAlive(d.f)
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: d.join(name), Err: err}
}

// openat opens one name.
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

// open opens a directory that this user, or root, alone can change.
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

// look opens a directory only to look up names in it. It takes two system calls, since there may be thousands of them.
func (d *dir) look(name string) (dir, error) {
	fd, err := unix.Openat(d.fd(), name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return dir{}, d.noDir(name, d.failed("open", name, err))
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

// checkDir returns an error for what is not a directory, or another user can change.
func (d *dir) checkDir(name string) error {
	st, err := d.stat(name)
	if err != nil {
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
	case unix.S_IFLNK:
		return &foreignError{d.join(name), "is a symbolic link"}
	default:
		return d.failed("open", name, unix.ENOTDIR)
	}
	if why := distrust(&st); why != "" {
		return &foreignError{d.join(name), why}
	}
	return nil
}

// noDir explains ENOTDIR for a symbolic link.
func (d *dir) noDir(name string, err error) error {
	if errors.Is(err, unix.ENOTDIR) {
		if st, e := d.stat(name); e == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK {
			return &foreignError{d.join(name), "is a symbolic link"}
		}
	}
	return err
}

// openAny opens a directory that is about to be removed, or is in one that was opened.
func (d *dir) openAny(name string) (*dir, error) {
	f, err := d.openat(name, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, d.noDir(name, err)
	}
	return &dir{f: f, path: d.join(name)}, nil
}

// openIn opens a directory some levels down.
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

// mkdir makes a directory, unless it exists, and opens it.
func (d *dir) mkdir(name string, mode uint32) (sub *dir, made bool, err error) {
	for {
		err = unix.Mkdirat(d.fd(), name, mode)
		if err != nil && err != unix.EEXIST {
			return nil, false, d.failed("mkdir", name, err)
		}
		made = err == nil
		sub, err = d.open(name)
		if !isAbsent(err) { // absent: removed in between
			return sub, made, err
		}
	}
}

// openFile opens a regular file, and nothing that it would have to wait for.
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

// checkFile returns an error for what is not a regular file, or another user can change.
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

// is reports whether the name is still that of the open file.
func (d *dir) is(f *os.File, name string) bool {
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) != nil {
		return false
	}
	now, err := d.stat(name)
	return err == nil && now.Dev == st.Dev && now.Ino == st.Ino
}

// names returns what is in the directory, sorted.
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

// rename gives what has the name another one, in the place of what had it.
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

// create makes a new file for writing.
func (d *dir) create(name string) (*os.File, error) {
	return d.openat(name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, fileMode)
}

// sync makes the names in the directory durable.
func (d *dir) sync() error {
	if err := d.f.Sync(); err != nil && !errors.Is(err, unix.EINVAL) { // a file system without directory sync
		return fmt.Errorf("sync directory %s: %w", d.path, err)
	}
	return nil
}

// syncAll makes all of the file system durable. It is an error where that cannot be relied on: FUSE does not pass it on.
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

// freed is how many bytes come free when what has the name is removed: those of blobs that have no other name.
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
		names, _ := sub.names() // what cannot be read is not counted
		for _, n := range names {
			total += sub.freed(n)
		}
	}
	return total
}

// isID reports whether a name is that of an image or a list.
func isID(name string) bool {
	d, err := digest.Parse(name)
	return err == nil && d.Algorithm() == digest.SHA256
}

func tempName(prefix string) string { return prefix + rand.Text() }

// distrust returns how another user could change a file or directory, "" if none can. A group that may write must be
// root's or one of this process's, as where the umask is 002: giving it that group was trust in its members. In a
// user namespace, a user or group that it does not map may be any, and is not trusted.
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

// groups are those that may write to a cache.
var groups = sync.OnceValue(func() []int {
	own, _ := os.Getgroups() // without them fewer are trusted
	return append(own, 0, os.Getegid())
})
