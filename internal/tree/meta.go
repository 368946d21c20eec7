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

// Attributes that entries inherit from a directory.
const (
	aclAccess  = "system.posix_acl_access"
	aclDefault = "system.posix_acl_default"
	selinux    = "security.selinux"
)

// Meta is the metadata of a file, directory, link or device.
type Meta struct {
	UID, GID int
	Mode     uint32    // permissions with setuid, setgid and sticky
	ModTime  time.Time // zero: do not set it
	Xattrs   map[string]string
}

// times returns the arguments of utimensat. The access time is the same: the archive has none, and the current time would
// differ between runs.
func (m *Meta) times() []unix.Timespec {
	t := unix.Timespec{Sec: m.ModTime.Unix(), Nsec: int64(m.ModTime.Nanosecond())}
	return []unix.Timespec{t, t}
}

// apply sets the metadata of an open file or directory. The order matters: changing the owner drops setuid and capabilities,
// and setting an ACL changes the mode.
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

// applyAt is apply for links, devices and FIFOs, which cannot be opened.
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

// setAt sets everything but the owner, and removes nothing.
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

// attrs returns the names of the attributes, sorted.
func (m *Meta) attrs() []string {
	if len(m.Xattrs) == 0 {
		return nil
	}
	return slices.Sorted(maps.Keys(m.Xattrs))
}

// Reasons why an attribute is not set; package userns has more.
const (
	noAttributes     = "the file system of the tree has no such attributes"
	noUserAttributes = "links, FIFOs and devices have no user attributes"
)

// attrError handles an error of setting an attribute. If the file system or the type of node does not support the attribute,
// Unsupported decides, unless the attribute is relevant to security.
func (r *Root) attrError(name, attr string, node bool, err error) error {
	switch {
	case err == nil:
		return nil
	case err == unix.ENOTSUP && r.Unsupported != nil && !strings.HasPrefix(attr, "security."):
		r.Unsupported(name, attr, noAttributes)
		return nil
	case err == unix.EPERM && r.Unsupported != nil && node && strings.HasPrefix(attr, "user."):
		r.Unsupported(name, attr, noUserAttributes)
		return nil
	case err == unix.EPERM && r.Unsupported != nil && strings.HasPrefix(attr, "trusted."):
		r.Unsupported(name, attr, userns.NoTrusted)
		return nil
	case err == unix.EPERM && r.Unsupported != nil && attr == "security.capability" && userns.Restricted():
		r.Unsupported(name, attr, userns.NoCapability)
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

// namesIDs reports whether an attribute's value contains user or group IDs.
func namesIDs(attr string) bool {
	return attr == aclAccess || attr == aclDefault || attr == "security.capability"
}

// futimens sets the times of an open file. x/sys/unix has no such function.
func futimens(fd int, times []unix.Timespec) error {
	//nolint:gosec // the kernel reads the two timespecs of the slice
	_, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(&times[0])), 0, 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// chmod changes the mode of an open file if it differs: checking is several times cheaper than changing.
func chmod(fd int, mode uint32) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err == nil && st.Mode&0o7777 == mode {
		return nil
	}
	return unix.Fchmod(fd, mode)
}

// chmodAt changes the mode of base, which must not be a symbolic link. The handle ensures that it is the one in this directory.
func chmodAt(d *dir, base string, mode uint32) error {
	fd, err := openat2(d.fd, base, unix.O_PATH)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	return unix.Chmod("/proc/self/fd/"+strconv.Itoa(fd), mode)
}

// handlePath returns a path for system calls without a directory descriptor: /proc's link to the handle, and a last component
// that these calls do not follow.
func handlePath(d *dir, base string) string {
	return "/proc/self/fd/" + strconv.Itoa(d.fd) + "/" + base
}

func absent(err error) bool { return err == unix.ENODATA || err == unix.ENOTSUP }

// Owner of new files, which needs no change.
var euid, egid = unix.Geteuid(), unix.Getegid()
