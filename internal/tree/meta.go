package tree

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/userns"
)

// The attributes that a directory hands down.
const (
	aclAccess  = "system.posix_acl_access"
	aclDefault = "system.posix_acl_default"
	selinux    = "security.selinux"
)

// Meta is what a file, directory, link or device has besides its content.
type Meta struct {
	UID, GID int
	Mode     uint32    // permissions with setuid, setgid and sticky
	ModTime  time.Time // zero: whatever it is
	Xattrs   map[string]string
}

// times returns the arguments of utimensat. The time of access is the same: the
// archive has none, and now would differ from run to run.
func (m *Meta) times() []unix.Timespec {
	t := unix.Timespec{Sec: m.ModTime.Unix(), Nsec: int64(m.ModTime.Nanosecond())}
	return []unix.Timespec{t, t}
}

// apply gives an open file or directory its metadata. The order matters: a change of
// owner drops setuid and capabilities, an ACL changes the mode.
func (r *Root) apply(fd int, name string, m *Meta, in *dir, wasThere bool) error {
	if wasThere || in.setgid || m.UID != euid || m.GID != egid {
		if err := unix.Fchown(fd, m.UID, m.GID); err != nil {
			return userns.OwnerError(m.UID, m.GID, err)
		}
	}
	if in.acl || wasThere {
		for _, attr := range []string{aclAccess, aclDefault} {
			if err := unix.Fremovexattr(fd, attr); err != nil && !absent(err) {
				return fmt.Errorf("remove %s: %w", attr, err)
			}
		}
	}
	for _, attr := range m.attrs() {
		err := r.room(func() error { return unix.Fsetxattr(fd, attr, []byte(m.Xattrs[attr]), 0) })
		if err := r.attrError(name, attr, false, err); err != nil {
			return err
		}
	}
	if err := chmod(fd, m.Mode); err != nil {
		return fmt.Errorf("set mode %04o: %w", m.Mode, err)
	}
	if m.ModTime.IsZero() {
		return nil
	}
	if err := futimens(fd, m.times()); err != nil {
		return fmt.Errorf("set time: %w", err)
	}
	return nil
}

// applyAt is apply for what cannot be opened: links, devices, fifos.
func (r *Root) applyAt(d *dir, name, base string, m *Meta, link bool) error {
	if d.setgid || m.UID != euid || m.GID != egid {
		if err := unix.Fchownat(d.fd, base, m.UID, m.GID, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return userns.OwnerError(m.UID, m.GID, err)
		}
	}
	if d.acl && !link {
		if err := unix.Lremovexattr(handlePath(d, base), aclAccess); err != nil && !absent(err) {
			return fmt.Errorf("remove %s: %w", aclAccess, err)
		}
	}
	return r.setAt(d, name, base, m, link)
}

// setAt sets all but the owner, and takes nothing away.
func (r *Root) setAt(d *dir, name, base string, m *Meta, link bool) error {
	for _, attr := range m.attrs() {
		err := r.room(func() error { return unix.Lsetxattr(handlePath(d, base), attr, []byte(m.Xattrs[attr]), 0) })
		if err := r.attrError(name, attr, true, err); err != nil {
			return err
		}
	}
	if !link {
		if err := chmodAt(d, base, m.Mode); err != nil {
			return fmt.Errorf("set mode %04o: %w", m.Mode, err)
		}
	}
	if m.ModTime.IsZero() {
		return nil
	}
	if err := unix.UtimesNanoAt(d.fd, base, m.times(), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("set time: %w", err)
	}
	return nil
}

// attrs returns the names of the attributes, always in the same order.
func (m *Meta) attrs() []string {
	if len(m.Xattrs) == 0 {
		return nil
	}
	return slices.Sorted(maps.Keys(m.Xattrs))
}

// Why an attribute is not set; package userns has more reasons.
const (
	NoAttributes     = "the file system of the tree has no such attributes"
	NoUserAttributes = "links, FIFOs and devices have no user attributes"
)

// attrError handles the error of setting an attribute. That the file system, or such a
// node, has no such attributes is for the caller to report, unless the attribute is
// about security.
func (r *Root) attrError(name, attr string, node bool, err error) error {
	switch {
	case err == nil:
		return nil
	case err == unix.ENOTSUP && r.Unsupported != nil && !strings.HasPrefix(attr, "security."):
		r.Unsupported(name, attr, NoAttributes)
		return nil
	case err == unix.EPERM && r.Unsupported != nil && node && strings.HasPrefix(attr, "user."):
		r.Unsupported(name, attr, NoUserAttributes)
		return nil
	case err == unix.EPERM && r.Unsupported != nil && strings.HasPrefix(attr, "trusted.") && userns.Restricted():
		r.Unsupported(name, attr, userns.NoTrusted)
		return nil
	case err == unix.EPERM && r.Unsupported != nil && strings.HasPrefix(attr, "security.") && userns.Restricted():
		r.Unsupported(name, attr, userns.NoSecurity)
		return nil
	default:
		err = fmt.Errorf("set attribute %q: %w", attr, err)
		if namesIDs(attr) {
			return hint.With(err, userns.Remedy(err))
		}
		return err
	}
}

// namesIDs reports whether the value of an attribute has ids of users or groups.
func namesIDs(attr string) bool {
	return attr == aclAccess || attr == aclDefault || attr == "security.capability"
}

// futimens sets the times of an open file. The library has no form without a name.
func futimens(fd int, times []unix.Timespec) error {
	//nolint:gosec // the kernel reads two timespecs from a slice that holds two
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(&times[0])), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// chmod changes the mode of an open file, unless it is right: then that costs several times as much as to look.
func chmod(fd int, mode uint32) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err == nil && st.Mode&0o7777 == mode {
		return nil
	}
	return unix.Fchmod(fd, mode)
}

// chmodAt changes the mode of what is not a symbolic link. The handle makes sure
// that it is the thing in this directory.
func chmodAt(d *dir, base string, mode uint32) error {
	fd, err := openat2(d.fd, base, unix.O_PATH)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	return unix.Chmod("/proc/self/fd/"+strconv.Itoa(fd), mode)
}

// handlePath returns a path for the calls that take no handle: the kernel's link to the
// directory's handle, and a last component that those calls do not follow.
func handlePath(d *dir, base string) string {
	return "/proc/self/fd/" + strconv.Itoa(d.fd) + "/" + base
}

func absent(err error) bool { return err == unix.ENODATA || err == unix.ENOTSUP }

// Who makes what is made: its owner needs no change.
var euid, egid = unix.Geteuid(), unix.Getegid()
