package pack

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// errChanged reports that the tree changed while it was packed.
var errChanged = errors.New("changed while it was read")

// inode identifies a file with hard links.
type inode struct{ dev, ino uint64 }

// link is a file with further names not seen yet.
type link struct {
	name string // first name, which has the content
	left uint64
}

// treeWriter writes a tree as a tar stream: directories before their content, names in byte order.
type treeWriter struct {
	ctx   context.Context
	epoch *time.Time
	note  Logf

	tw      *tar.Writer
	links   map[inode]*link
	attrs   attrReader
	buf     []byte
	entries int
	newest  time.Time // latest time of an entry
}

// write writes the tree at path to w. Errors name the path within the tree.
func (t *treeWriter) write(w io.Writer, path string) error {
	t.tw, t.links, t.buf = tar.NewWriter(w), map[inode]*link{}, make([]byte, 256<<10)
	t.attrs.note = t.note
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open tree %q: %w", path, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		_ = unix.Close(fd)
		return fmt.Errorf("open tree %q: %w", path, err)
	}
	if err := t.dir(fd, "./", &st); err != nil {
		return err
	}
	return t.tw.Close()
}

// dir writes the directory fd with its content, and closes fd. Its name ends in a slash.
func (t *treeWriter) dir(fd int, name string, st *unix.Stat_t) error {
	d := os.NewFile(uintptr(fd), name)
	defer d.Close()
	attrs, err := t.attrs.of(fd)
	if err != nil {
		return fail(name, err)
	}
	hdr := t.header(name, st)
	hdr.Typeflag = tar.TypeDir
	if err := t.put(hdr, attrs); err != nil {
		return err
	}
	names, err := d.Readdirnames(-1)
	if err != nil {
		return fail(name, err)
	}
	slices.Sort(names)
	for _, base := range names {
		if err := t.ctx.Err(); err != nil {
			return err
		}
		if err := t.entry(fd, strings.TrimPrefix(name, "./"), base); err != nil {
			return err
		}
	}
	return unchanged(fd, name, st)
}

// entry writes the entry base of the directory dirfd, whose name is prefix.
func (t *treeWriter) entry(dirfd int, prefix, base string) error {
	name := prefix + base
	var st unix.Stat_t
	if err := unix.Fstatat(dirfd, base, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fail(name, gone(err))
	}
	if strings.HasPrefix(base, ".wh.") {
		t.note("%s: this name removes files of the layers below when the layer is unpacked", name)
	}
	kind := st.Mode & unix.S_IFMT
	if kind == unix.S_IFDIR {
		fd, err := open(dirfd, base, unix.O_DIRECTORY, &st)
		if err != nil {
			return fail(name, err)
		}
		return t.dir(fd, name+"/", &st)
	}
	if kind == unix.S_IFSOCK {
		t.note("%s: socket left out", name)
		return nil
	}
	if first := t.linked(name, &st); first != "" {
		hdr := t.header(name, &st)
		hdr.Typeflag, hdr.Linkname = tar.TypeLink, first
		return t.put(hdr, nil)
	}
	if kind == unix.S_IFREG {
		return t.file(dirfd, base, name, &st)
	}
	return t.node(dirfd, base, name, &st)
}

// linked returns the name under which the file has been written, or "".
func (t *treeWriter) linked(name string, st *unix.Stat_t) string {
	if st.Nlink < 2 {
		return ""
	}
	key := inode{st.Dev, st.Ino}
	l := t.links[key]
	if l == nil {
		t.links[key] = &link{name: name, left: uint64(st.Nlink) - 1} //nolint:unconvert // 32 bits wide on some machines
		return ""
	}
	if l.left--; l.left == 0 {
		delete(t.links, key)
	}
	return l.name
}

func (t *treeWriter) file(dirfd int, base, name string, st *unix.Stat_t) error {
	fd, err := open(dirfd, base, unix.O_NONBLOCK, st)
	if err != nil {
		return fail(name, err)
	}
	defer func() { _ = unix.Close(fd) }()
	attrs, err := t.attrs.of(fd)
	if err != nil {
		return fail(name, err)
	}
	hdr := t.header(name, st)
	hdr.Typeflag, hdr.Size = tar.TypeReg, st.Size
	if err := t.put(hdr, attrs); err != nil {
		return err
	}
	for left := st.Size; left > 0; {
		n, err := unix.Read(fd, t.buf[:min(int64(len(t.buf)), left)])
		if err != nil {
			return fail(name, err)
		}
		if n == 0 {
			return fail(name, errChanged) // it has become shorter
		}
		if _, err := t.tw.Write(t.buf[:n]); err != nil {
			return err
		}
		if err := t.ctx.Err(); err != nil {
			return err
		}
		left -= int64(n)
	}
	return unchanged(fd, name, st)
}

// node writes a symbolic link, a device or a fifo, without opening it.
func (t *treeWriter) node(dirfd int, base, name string, st *unix.Stat_t) error {
	hdr := t.header(name, st)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		n, err := unix.Readlinkat(dirfd, base, t.buf)
		if err != nil {
			return fail(name, gone(err))
		}
		hdr.Typeflag, hdr.Linkname = tar.TypeSymlink, string(t.buf[:n])
	case unix.S_IFCHR, unix.S_IFBLK:
		hdr.Typeflag = tar.TypeChar
		if st.Mode&unix.S_IFMT == unix.S_IFBLK {
			hdr.Typeflag = tar.TypeBlock
		}
		hdr.Devmajor, hdr.Devminor = int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
	case unix.S_IFIFO:
		hdr.Typeflag = tar.TypeFifo
	default:
		return fail(name, fmt.Errorf("file type %#o is not known", st.Mode&unix.S_IFMT))
	}
	attrs, err := t.attrs.at(dirfd, base)
	if err != nil {
		return fail(name, err)
	}
	return t.put(hdr, attrs)
}

// header returns the fields common to all types of entries. Owners have no names: these depend on the machine and the tree.
func (t *treeWriter) header(name string, st *unix.Stat_t) *tar.Header {
	mtime := time.Unix(st.Mtim.Unix())
	if t.epoch != nil && mtime.After(*t.epoch) {
		mtime = *t.epoch
	}
	return &tar.Header{
		Format: tar.FormatPAX, Name: name, Mode: int64(st.Mode & 0o7777),
		Uid: int(st.Uid), Gid: int(st.Gid), ModTime: mtime,
	}
}

func (t *treeWriter) put(hdr *tar.Header, attrs map[string]string) error {
	hdr.PAXRecords = attrs
	if err := t.tw.WriteHeader(hdr); err != nil {
		return fail(hdr.Name, err)
	}
	t.entries++
	if hdr.ModTime.After(t.newest) {
		t.newest = hdr.ModTime
	}
	return nil
}

// open opens base, and fails if it is no longer the file described by st.
func open(dirfd int, base string, flags int, st *unix.Stat_t) (int, error) {
	fd, err := unix.Openat(dirfd, base, flags|unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, gone(err)
	}
	if err := check(fd, st); err != nil {
		_ = unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// unchanged returns an error if the open file has changed since st was read.
func unchanged(fd int, name string, st *unix.Stat_t) error {
	if err := check(fd, st); err != nil {
		return fail(name, err)
	}
	return nil
}

func check(fd int, st *unix.Stat_t) error {
	var now unix.Stat_t
	if err := unix.Fstat(fd, &now); err != nil {
		return err
	}
	if !same(st, &now) {
		return errChanged
	}
	return nil
}

func same(a, b *unix.Stat_t) bool {
	return a.Dev == b.Dev && a.Ino == b.Ino && a.Mode == b.Mode && a.Size == b.Size &&
		a.Mtim == b.Mtim && a.Ctim == b.Ctim
}

// gone converts the error for a listed name that has disappeared or changed its type to errChanged.
func gone(err error) error {
	for _, e := range []error{unix.ENOENT, unix.ENOTDIR, unix.ELOOP, unix.ENXIO} {
		if errors.Is(err, e) {
			return errChanged
		}
	}
	return err
}

func fail(name string, err error) error {
	return fmt.Errorf("%s: %w", name, err)
}
