package pack

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	xattrKey   = "SCHILY.xattr."     // prefix of a PAX record, before the attribute's name
	codedKey   = "LIBARCHIVE.xattr." // prefix before the encoded name; the value is base64
	accessACL  = "system.posix_acl_access"
	defaultACL = "system.posix_acl_default"
)

// wanted reports whether a layer records the attribute: those set by users, and those from which the kernel takes
// capabilities and integrity. SELinux labels depend on the system, trusted.* and user.overlay.* on its file systems.
func wanted(name string) bool {
	switch name {
	case "security.capability", "security.ima", accessACL, defaultACL:
		return true
	}
	return strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "user.overlay.")
}

// attrReader reads extended attributes as PAX records. It reuses its buffers.
type attrReader struct {
	names, value []byte
	note         Logf
	blind        bool // /proc is missing
}

// of reads the attributes of an open file or directory.
func (r *attrReader) of(fd int) (map[string]string, error) {
	return r.read(
		func(b []byte) (int, error) { return unix.Flistxattr(fd, b) },
		func(name string, b []byte) (int, error) { return unix.Fgetxattr(fd, name, b) })
}

// at reads the attributes of a file that must not be opened: base in the directory dirfd. Before Linux 6.13 no system call
// takes a directory and a name, so it goes through /proc. Without /proc these attributes are lost, which is little: links have
// no user attributes and no ACLs.
func (r *attrReader) at(dirfd int, base string) (map[string]string, error) {
	if r.blind {
		return nil, nil
	}
	dir := fmt.Sprintf("/proc/self/fd/%d/", dirfd)
	path := dir + base
	records, err := r.read(
		func(b []byte) (int, error) { return unix.Llistxattr(path, b) },
		func(name string, b []byte) (int, error) { return unix.Lgetxattr(path, name, b) })
	if r.blind = errors.Is(err, unix.ENOENT) && unix.Access(dir, unix.F_OK) != nil; r.blind {
		r.note("no /proc: extended attributes of links, devices and fifos are left out")
		err = nil
	}
	return records, gone(err)
}

// codedName encodes names like GNU tar and bsdtar, since a record's key ends at "=".
var codedName = strings.NewReplacer("%", "%25", "=", "%3D")

// AddAttr adds the PAX records of an extended attribute, in a form that all readers understand. Container tools use names
// without decoding, so names with "=" must be encoded, which GNU tar undoes. Because "%" is then ambiguous, a second record in
// bsdtar's form is added for bsdtar and package layer.
func AddAttr(records map[string]string, name, value string) error {
	if name == accessACL || name == defaultACL {
		text, err := aclText(value)
		if err != nil {
			return fmt.Errorf("extended attribute %s: %w", name, err)
		}
		// tar reads the text, container tools the attribute.
		records["SCHILY.acl."+strings.TrimPrefix(name, "system.posix_acl_")] = text
	}
	if !strings.ContainsAny(name, "%=") {
		records[xattrKey+name] = value
		return nil
	}
	coded := codedName.Replace(name)
	records[codedKey+coded] = base64.RawStdEncoding.EncodeToString([]byte(value))
	if !strings.Contains(name, "=") {
		records[xattrKey+name] = value
	} else if _, taken := records[xattrKey+coded]; !taken {
		records[xattrKey+coded] = value
	}
	return nil
}

func (r *attrReader) read(list func([]byte) (int, error), get func(string, []byte) (int, error)) (map[string]string, error) {
	if r.names == nil {
		r.names, r.value = make([]byte, 64<<10), make([]byte, 64<<10) // the kernel's limits
	}
	n, err := list(r.names)
	if err == unix.EOPNOTSUPP || n == 0 && err == nil {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list extended attributes: %w", err)
	}
	records := map[string]string{}
	for name := range strings.SplitSeq(string(r.names[:n-1]), "\x00") {
		if !wanted(name) {
			continue
		}
		n, err := get(name, r.value)
		if err != nil {
			return nil, fmt.Errorf("read extended attribute %s: %w", name, err)
		}
		value := string(r.value[:n])
		if err := AddAttr(records, name, value); err != nil {
			return nil, err
		}
	}
	return records, nil
}
