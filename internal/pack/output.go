package pack

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// output is a file that has no name before it is complete, so that nothing is left of it
// when the process dies. Where the file system cannot do that it has a temporary one.
type output struct {
	f    *os.File
	dir  int
	base string
	temp string // empty: no name yet
}

// create opens the folder of name, in root, and a new file in it.
func create(root, name string) (*output, error) {
	parent, base := path.Split(name)
	switch {
	case name == "", strings.ContainsRune(name, 0), base == "", base == ".", base == "..":
		return nil, errors.New("this is no name of a file")
	case slices.Contains(strings.Split(parent, "/"), ".."):
		return nil, errors.New("a path with .. may lead out of the tree")
	}
	top, err := unix.Open(root, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open tree %q: %w", root, err)
	}
	defer func() { _ = unix.Close(top) }()
	how := unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	}
	dir, err := unix.Openat2(top, "./"+parent, &how)
	if err != nil {
		return nil, fmt.Errorf("open folder %q: %w", parent, err)
	}
	o := &output{dir: dir, base: base}
	if err := o.open(); err != nil {
		o.discard()
		return nil, err
	}
	return o, nil
}

// open creates the file, after a look at what is in its place.
func (o *output) open() error {
	var st unix.Stat_t
	if err := unix.Fstatat(o.dir, o.base, &st, unix.AT_SYMLINK_NOFOLLOW); err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return unix.EISDIR
	}
	fd, err := unix.Openat(o.dir, ".", unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err == unix.EOPNOTSUPP || err == unix.EISDIR || err == unix.ENOENT {
		o.temp = tempName()
		fd, err = unix.Openat(o.dir, o.temp, unix.O_CREAT|unix.O_EXCL|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	}
	if err != nil {
		o.temp = ""
		return err
	}
	o.f = os.NewFile(uintptr(fd), o.base)
	return unix.Fchmod(fd, 0o644) // whatever the umask
}

// commit gives the file its name, in the place of what had it before.
func (o *output) commit() error {
	if o.temp == "" {
		err := o.link(o.base)
		if err != unix.EEXIST {
			return err
		}
		o.temp = tempName()
		if err := o.link(o.temp); err != nil {
			o.temp = ""
			return err
		}
	}
	if err := o.f.Close(); err != nil {
		return err
	}
	if err := unix.Renameat(o.dir, o.temp, o.dir, o.base); err != nil {
		return err
	}
	o.temp = ""
	return nil
}

// link names the file, by its handle where the process may do that, else by /proc.
func (o *output) link(name string) error {
	fd := int(o.f.Fd())
	if err := unix.Linkat(fd, "", o.dir, name, unix.AT_EMPTY_PATH); err != unix.ENOENT {
		return err
	}
	return unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), o.dir, name, unix.AT_SYMLINK_FOLLOW)
}

// discard closes the file and removes it, unless commit went well.
func (o *output) discard() {
	if o.temp != "" {
		_ = unix.Unlinkat(o.dir, o.temp, 0)
	}
	if o.f != nil {
		o.f.Close()
	}
	_ = unix.Close(o.dir)
}

func tempName() string { return ".oci-archive." + rand.Text() }
