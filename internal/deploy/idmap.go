package deploy

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"strings"

	"golang.org/x/sys/unix"

	"osbuild-containers/internal/layer"
	"osbuild-containers/internal/tree"
	"osbuild-containers/internal/userns"
)

// IDRange maps Count ids, starting at Container in the image, to ids starting at Host in the tree.
type IDRange struct {
	Container, Host, Count uint32
}

// mapped returns the id in the tree for an id of the image. The largest id means "none" to the
// kernel and is invalid.
func mapped(what string, id int64, ranges []IDRange) (int, error) {
	if id < 0 || id >= math.MaxUint32 {
		return 0, fmt.Errorf("%s %d is not an id", what, id)
	}
	if len(ranges) == 0 {
		return int(id), nil
	}
	for _, r := range ranges {
		if n := id - int64(r.Container); n >= 0 && n < int64(r.Count) {
			if host := int64(r.Host) + n; host < math.MaxUint32 {
				return int(host), nil
			}
		}
	}
	return 0, fmt.Errorf("%s %d is in no range of the map", what, id)
}

// meta returns the metadata that an entry is to have in the tree, with mapped owners, and records
// losses.
func (d *deployer) meta(e *layer.Entry) (tree.Meta, error) { return d.metaOf(e, d.lost.Add) }

// metaOf is like meta, but calls lost for each loss. It may be called concurrently.
func (d *deployer) metaOf(e *layer.Entry, lost func(name, attr, why string)) (tree.Meta, error) {
	m := tree.Meta{Mode: e.Mode, ModTime: e.ModTime}
	var err error
	if d.opt.IgnoreOwners {
		return d.unowned(m, e, lost)
	}
	if m.UID, err = mapped("uid", e.UID, d.opt.UIDs); err != nil {
		return m, err
	}
	if m.GID, err = mapped("gid", e.GID, d.opt.GIDs); err != nil {
		return m, err
	}
	m.Xattrs, err = d.xattrs(e.Xattrs)
	return m, err
}

// Mapped returns metadata of the image as they are with the owners of the tree: those of m, and of its ACLs, mapped.
func (o *Options) Mapped(m Meta) (Meta, error) {
	var err error
	if m.UID, err = mapped("uid", int64(m.UID), o.UIDs); err != nil {
		return m, err
	}
	if m.GID, err = mapped("gid", int64(m.GID), o.GIDs); err != nil {
		return m, err
	}
	m.Xattrs = maps.Clone(m.Xattrs)
	for _, attr := range []string{aclAccess, aclDefault} {
		if value, ok := m.Xattrs[attr]; ok {
			if m.Xattrs[attr], err = o.acl(value); err != nil {
				return m, fmt.Errorf("attribute %s: %w", attr, err)
			}
		}
	}
	return m, nil
}

// noACLs is the reason why an ACL is not set.
const noACLs = "owners are ignored, and so are ACLs with users or groups"

// unowned completes the metadata of an entry whose owner is ignored.
func (d *deployer) unowned(m tree.Meta, e *layer.Entry, lost func(name, attr, why string)) (tree.Meta, error) {
	m.UID, m.GID = unix.Geteuid(), unix.Getegid()
	if e.UID != int64(m.UID) || e.GID != int64(m.GID) {
		lost(e.Name, fmt.Sprintf("%d:%d", e.UID, e.GID), userns.NoOwners)
	}
	all, err := d.xattrs(e.Xattrs)
	for _, attr := range []string{aclAccess, aclDefault} {
		if namesOthers(all[attr]) {
			lost(e.Name, attr, noACLs)
			delete(all, attr)
		}
	}
	m.Xattrs = all
	return m, err
}

// implied returns the metadata of a directory that no layer has an entry for.
func (d *deployer) implied() (tree.Meta, error) {
	e := &layer.Entry{Mode: 0o755, ModTime: d.opt.Epoch}
	if d.opt.IgnoreOwners {
		e.UID, e.GID = int64(unix.Geteuid()), int64(unix.Getegid())
	}
	return d.meta(e)
}

const (
	aclAccess  = "system.posix_acl_access"
	aclDefault = "system.posix_acl_default"

	// These are not taken from layers: labels are the host's policy, as in podman, and overlayfs
	// hides the attributes that it keeps for itself.
	selinux       = "security.selinux"
	overlay       = "trusted.overlay."
	userOverlay   = "user.overlay." // in a user namespace
	overlayOpaque = overlay + "opaque"

	// The kernel removes capabilities when the owner changes.
	capability = "security.capability"
)

// xattrs returns the attributes that a file is to have in the tree. It copies them, since those of
// the archive are substrings of headers that may be much longer.
func (d *deployer) xattrs(all map[string]string) (map[string]string, error) {
	if len(all) == 0 {
		return nil, nil
	}
	kept := make(map[string]string, len(all))
	for name, value := range all {
		switch {
		case name == selinux && !d.opt.Labels || strings.HasPrefix(name, overlay) || strings.HasPrefix(name, userOverlay):
			continue
		case name == aclAccess || name == aclDefault:
			var err error
			if value, err = d.opt.acl(value); err != nil {
				return nil, fmt.Errorf("attribute %s: %w", name, err)
			}
		}
		kept[strings.Clone(name)] = strings.Clone(value)
	}
	return kept, nil
}

// An ACL in the kernel's format is a version and entries of eight bytes: the first two are the
// type, the last four the id.
const header, size, user, group = 4, 8, 0x02, 0x08

// namesOthers reports whether an ACL has entries for individual users or groups.
func namesOthers(acl string) bool {
	for e := []byte(acl); len(e) >= header+size; e = e[size:] {
		if what := binary.LittleEndian.Uint16(e[header:]); what == user || what == group {
			return true
		}
	}
	return false
}

// acl maps the ids in an ACL.
func (o *Options) acl(value string) (string, error) {
	if len(o.UIDs) == 0 && len(o.GIDs) == 0 {
		return value, nil
	}
	b := []byte(value)
	if len(b) < header || (len(b)-header)%size != 0 {
		return "", fmt.Errorf("not an ACL: %d bytes", len(b))
	}
	for e := b[header:]; len(e) > 0; e = e[size:] {
		what, ranges := "uid", o.UIDs
		switch binary.LittleEndian.Uint16(e) {
		case user:
		case group:
			what, ranges = "gid", o.GIDs
		default:
			continue
		}
		id, err := mapped(what, int64(binary.LittleEndian.Uint32(e[4:])), ranges)
		if err != nil {
			return "", err
		}
		binary.LittleEndian.PutUint32(e[4:], uint32(id))
	}
	return string(b), nil
}
