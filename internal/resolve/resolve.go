// Package resolve resolves paths: on this machine (Find, Target, Dir), or within an untrusted tree (OpenInTree, MkdirInTree).
//
// A path given by a user may contain symbolic links, most of them intended. A link that another user has put into a
// world-writable directory such as /tmp is not: the kernel refuses to follow it only if the sysctl fs.protected_symlinks is
// set, and readlink(2) always returns it. This package follows links itself, by handles, and always refuses such links. The
// result is a handle on a directory and a name in it that is not a link, so that it stays the checked place, whatever is
// renamed later.
//
// It does not check who owns the directories on the way: users who may rename them control where a path leads.
package resolve

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/userns"
)

// maxLinks is how many symbolic links a path may contain, as in the kernel.
const maxLinks = 40

// ErrForeign reports a file of another user in a world-writable directory.
var ErrForeign = errors.New("in a directory that all may write to")

// A Place is the result of resolving a path: a name in an open directory. It is not a symbolic link, unless Proc is set.
type Place struct {
	Dir  *os.File
	Base string       // "." for a path that ends in / or ..
	Path string       // without links, for messages
	Stat *unix.Stat_t // nil if the name does not exist

	// Proc is set for a link in /proc to an open file without a path, such as a pipe or a removed file. It can be
	// opened, but not replaced.
	Proc bool

	link string // last link followed, or ""
}

// Close closes the directory.
func (p *Place) Close() error { return p.Dir.Close() }

// IsDir reports whether the place is a directory.
func (p *Place) IsDir() bool { return p.is(unix.S_IFDIR) }

// IsRegular reports whether the place is a regular file that can be replaced.
func (p *Place) IsRegular() bool { return p.is(unix.S_IFREG) && !p.Proc }

func (p *Place) is(kind uint32) bool { return p.Stat != nil && p.Stat.Mode&unix.S_IFMT == kind }

// Open opens the file that was found. It is an error if it has been replaced.
func (p *Place) Open(flags int) (*os.File, error) {
	if !p.Proc {
		flags |= unix.O_NOFOLLOW
	}
	fd, err := unix.Openat(int(p.Dir.Fd()), p.Base, flags|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: p.Path, Err: err}
	}
	f := os.NewFile(uintptr(fd), p.Path)
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil && (p.Stat == nil || st.Dev != p.Stat.Dev || st.Ino != p.Stat.Ino) {
		err = errors.New("it was replaced by another file meanwhile")
	}
	if err != nil {
		f.Close()
		return nil, &os.PathError{Op: "open", Path: p.Path, Err: err}
	}
	return f, nil
}

// CheckWritable returns an error with a remedy, without the path, if the user may not write a file or directory at the place. It
// checks the directory, in which files are created and replaced, or else the pipe or device.
func (p *Place) CheckWritable() error {
	if p.Stat != nil && !p.IsDir() && !p.IsRegular() {
		return access(int(p.Dir.Fd()), p.Base, unix.W_OK, p.Path)
	}
	return access(int(p.Dir.Fd()), ".", unix.W_OK|unix.X_OK, filepath.Dir(p.Path))
}

// CheckDir returns an error with a remedy, without the path, if the user may not create files in a directory.
func CheckDir(path string) error { return access(unix.AT_FDCWD, path, unix.W_OK|unix.X_OK, path) }

// access returns an error if access is denied. path is the name in the remedy.
func access(dir int, name string, mode uint32, path string) error {
	err := unix.Faccessat2(dir, name, mode, unix.AT_EACCESS)
	if err != unix.EACCES && err != unix.EROFS { // old kernels and seccomp filters refuse the call itself
		return nil
	}
	return hint.Add(err, "%s must be writable: check its mount and its permissions, or name another path", path)
}

// Find resolves all links of a path. The last component need not exist; a missing directory before it is an error.
func Find(path string) (*Place, error) {
	p, err := find(path)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return p, nil
}

// Target is Find for a file or directory to create, write or replace. It refuses a file of another user in a world-writable
// directory, and a link to something that does not exist.
func Target(path string) (*Place, error) {
	p, err := Find(path)
	if errors.Is(err, unix.ENOENT) {
		return nil, hint.Add(err, "make the directory %s first", filepath.Dir(path))
	}
	if err != nil {
		return nil, err
	}
	switch {
	case p.Stat != nil:
		err = Vet(p.Dir, p.Stat, p.Path)
	case p.link != "":
		err = fmt.Errorf("%s is a symbolic link to %s, which does not exist", p.link, p.Path)
	}
	if err != nil {
		p.Close()
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return p, nil
}

// Dir opens the directory at a path.
func Dir(path string) (*os.File, error) {
	p, err := Find(path)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	fd, err := unix.Openat(int(p.Dir.Fd()), p.Base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// walk is the resolution of a path.
type walk struct {
	dir   *os.File
	path  string
	rest  []string // names left
	links int
	link  string // last link followed
}

func find(path string) (*Place, error) {
	if path == "" {
		return nil, unix.ENOENT
	}
	if strings.ContainsRune(path, 0) {
		return nil, unix.EINVAL
	}
	w := &walk{}
	err := w.begin(path)
	for err == nil {
		var p *Place
		if p, err = w.step(); p != nil {
			return p, nil
		}
	}
	if w.dir != nil {
		w.dir.Close()
	}
	return nil, err
}

// begin continues with a path: the initial one, or the target of a link.
func (w *walk) begin(path string) error {
	w.rest = append(strings.Split(path, "/"), w.rest...)
	switch {
	case strings.HasPrefix(path, "/"):
		return w.enter(unix.AT_FDCWD, "/", "/")
	case w.dir == nil:
		here, err := os.Getwd()
		if err != nil {
			here = "."
		}
		return w.enter(unix.AT_FDCWD, ".", here)
	}
	return nil
}

// enter opens a directory and closes the current one.
func (w *walk) enter(in int, name, path string) error {
	fd, err := unix.Openat(in, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if w.dir != nil {
		w.dir.Close()
	}
	w.dir, w.path = os.NewFile(uintptr(fd), path), path
	return nil
}

// step resolves one name. It returns the place if that was the last one.
func (w *walk) step() (*Place, error) {
	for len(w.rest) > 0 && (w.rest[0] == "" || w.rest[0] == ".") {
		w.rest = w.rest[1:]
	}
	in := int(w.dir.Fd())
	if len(w.rest) == 0 {
		var st unix.Stat_t
		if err := unix.Fstat(in, &st); err != nil {
			return nil, err
		}
		return &Place{Dir: w.dir, Base: ".", Path: w.path, Stat: &st}, nil
	}
	name := w.rest[0]
	w.rest = w.rest[1:]
	if name == ".." {
		return nil, w.enter(in, "..", filepath.Dir(w.path))
	}
	path := filepath.Join(w.path, name)
	last := len(w.rest) == 0 // otherwise a slash or another name follows
	fd, err := unix.Openat(in, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT && w.onlySlashes() {
		return &Place{Dir: w.dir, Base: name, Path: path, link: w.link}, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	switch {
	case st.Mode&unix.S_IFMT == unix.S_IFLNK:
		return w.follow(fd, &st, name, path)
	case st.Mode&unix.S_IFMT == unix.S_IFDIR && !w.onlySlashes():
		return nil, w.enter(in, name, path)
	case st.Mode&unix.S_IFMT != unix.S_IFDIR && !last:
		return nil, unix.ENOTDIR
	}
	return &Place{Dir: w.dir, Base: name, Path: path, Stat: &st}, nil
}

// onlySlashes reports whether no names are left.
func (w *walk) onlySlashes() bool { return strings.Join(w.rest, "") == "" }

// follow continues with the target of a symbolic link.
func (w *walk) follow(fd int, st *unix.Stat_t, name, path string) (*Place, error) {
	if w.links++; w.links > maxLinks {
		return nil, unix.ELOOP
	}
	if err := Vet(w.dir, st, path); err != nil {
		return nil, err
	}
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", buf)
	if err != nil {
		return nil, err
	}
	to := string(buf[:n])
	var fs unix.Statfs_t
	if unix.Fstatfs(fd, &fs) == nil && fs.Type == unix.PROC_SUPER_MAGIC {
		if p, entered, err := w.followProc(name, path, to); p != nil || entered || err != nil {
			return p, err
		}
	}
	if w.onlySlashes() {
		w.link = path
	}
	return nil, w.begin(to)
}

// followProc follows a link in /proc whose text may not be the path of its target. For a link to a directory, such as the root
// of a process in another mount namespace, only the kernel knows the target. A link to an open file whose text does not name
// that file, such as a pipe or a removed file, is itself the place. Other links are followed by their text.
func (w *walk) followProc(name, path, to string) (p *Place, entered bool, err error) {
	in := int(w.dir.Fd())
	var st, named unix.Stat_t
	if err := unix.Fstatat(in, name, &st, 0); err != nil {
		return nil, false, err
	}
	switch {
	case st.Mode&unix.S_IFMT == unix.S_IFDIR:
		fd, err := unix.Openat(in, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, false, err
		}
		w.dir.Close()
		w.dir, w.path = os.NewFile(uintptr(fd), path), path
		return nil, true, nil
	case len(w.rest) > 0:
		return nil, false, unix.ENOTDIR
	case unix.Fstatat(in, to, &named, unix.AT_SYMLINK_NOFOLLOW) == nil && named.Dev == st.Dev && named.Ino == st.Ino:
		return nil, false, nil
	}
	return &Place{Dir: w.dir, Base: name, Path: path, Stat: &st, Proc: true}, false, nil
}

// Vet applies the kernel's rule for files in sticky, world-writable directories: the owner of the directory and this process's
// user are trusted, others are not. A user that is not mapped in the user namespace is never trusted, since it may differ
// from the owner of the directory.
func Vet(dir *os.File, st *unix.Stat_t, path string) error {
	var in unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &in); err != nil {
		return err
	}
	const shared = unix.S_ISVTX | unix.S_IWOTH
	if in.Mode&shared != shared || (st.Uid == in.Uid || int(st.Uid) == os.Geteuid()) && !userns.Unmapped(st.Uid) {
		return nil
	}
	return fmt.Errorf("%s %s belongs to user %d, %w", kindOf(st), path, st.Uid, ErrForeign)
}

func kindOf(st *unix.Stat_t) string {
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		return "the symbolic link"
	case unix.S_IFIFO:
		return "the named pipe"
	case unix.S_IFDIR:
		return "the directory"
	default:
		return "the file"
	}
}
