package ext4

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// AttrError is returned for an extended attribute that a node cannot have. The rest of the call has
// been done, so the caller can continue with SetMeta without that attribute.
type AttrError struct {
	Attr, Reason string
}

func (e *AttrError) Error() string { return fmt.Sprintf("attribute %q: %s", e.Attr, e.Reason) }

// attr is an extended attribute. On disk it is an entry of 16 bytes followed by the name without
// its prefix, which is encoded as a number; the value is stored separately. Entries are in the
// inode, after its fields, or, sorted, in a block that belongs to the inode. A value is stored next
// to its entry or, if it does not fit, in an inode of its own.
type attr struct {
	index   byte
	name    string // without the prefix
	value   string // as returned by getxattr; empty if it is in a node
	inBlock bool
	node    *node
}

// Prefixes of names, by number. For ACLs they are the whole name.
const (
	accessACL  = "system.posix_acl_access"
	defaultACL = "system.posix_acl_default"

	indexAccessACL  = 2
	indexDefaultACL = 3
)

var prefixes = []struct {
	index  byte
	prefix string
}{{1, "user."}, {4, "trusted."}, {6, "security."}, {indexAccessACL, accessACL}, {indexDefaultACL, defaultACL}}

func (a *attr) fullName() string {
	for _, p := range prefixes {
		if p.index == a.index {
			return p.prefix + a.name
		}
	}
	return a.name
}

// Sizes in the areas for attributes.
const (
	attrMagic     = 0xEA020000
	attrHeader    = 32 // of a block
	attrEntry     = 16
	attrEnd       = 4 // zeros after the last entry
	attrsInInode  = inodeSize - inodeAttributes - 4
	attrsInBlock  = blockSize - attrHeader
	maxAttrValue  = 64 << 10
	maxAttrSuffix = 255
)

func (a *attr) entrySize() int { return (attrEntry + len(a.name) + 3) &^ 3 }

func (a *attr) valueSize() int { return (len(a.onDisk()) + 3) &^ 3 }

// onDisk returns the value in the format on disk, which is shorter for ACLs.
func (a *attr) onDisk() string {
	if a.index != indexAccessACL && a.index != indexDefaultACL || a.node != nil {
		return a.value
	}
	p := []byte{1, 0, 0, 0}
	for e := range slices.Chunk([]byte(a.value[aclHeader:]), aclEntry) {
		if tag := le.Uint16(e); tag == aclUser || tag == aclGroup {
			p = append(p, e...)
		} else {
			p = append(p, e[:4]...)
		}
	}
	return string(p)
}

// setAttrs replaces all attributes of a node.
func (fs *FS) setAttrs(n *node, xattrs map[string]string) error {
	if len(xattrs) == 0 && len(n.attrs) == 0 {
		return nil
	}
	attrs := make([]attr, 0, len(xattrs))
	want := make(map[string]string, len(xattrs))
	for _, name := range slices.Sorted(maps.Keys(xattrs)) {
		a, err := newAttr(n, name, xattrs[name])
		if err != nil {
			return err
		}
		if a != nil {
			attrs = append(attrs, *a)
			want[name] = a.value
		}
	}
	if !fs.full {
		have, err := fs.attrsOf(n)
		if err != nil {
			return err
		}
		if maps.Equal(have, want) {
			return nil
		}
	}
	slices.SortFunc(attrs, func(a, b attr) int {
		return cmp.Or(cmp.Compare(a.index, b.index), cmp.Compare(len(a.name), len(b.name)), cmp.Compare(a.name, b.name))
	})
	fs.releaseAttrs(n)
	n.attrs = attrs
	return fs.placeAttrs(n)
}

// newAttr returns an attribute, or nil for an ACL equivalent to the mode.
func newAttr(n *node, name, value string) (*attr, error) {
	for _, p := range prefixes {
		rest, ok := strings.CutPrefix(name, p.prefix)
		if !ok {
			continue
		}
		a := &attr{index: p.index, name: rest, value: value}
		acl := p.index == indexAccessACL || p.index == indexDefaultACL
		switch kind := n.mode & typeMask; {
		case acl != (rest == "") || len(rest) > maxAttrSuffix:
			return nil, &AttrError{name, "ext4 has no attribute of this name"}
		case len(value) > maxAttrValue:
			return nil, &AttrError{name, fmt.Sprintf("its value has %d bytes, at most %d are possible", len(value), maxAttrValue)}
		case p.index == 1 && kind != typeFile && kind != typeDir:
			return nil, &AttrError{name, "links, devices, fifos and sockets have no user attributes"}
		case p.index == indexDefaultACL && kind != typeDir || acl && kind == typeSymlink:
			return nil, &AttrError{name, "such a node has no ACL of this kind"}
		case !acl:
			return a, nil
		}
		var err error
		if a.value, err = checkACL(name, value); a.value != "" && p.index == indexAccessACL {
			a.value = aclOfMode(a.value, n.mode)
		}
		if err != nil || a.value == "" {
			return nil, err
		}
		return a, nil
	}
	return nil, &AttrError{name, "ext4 has no attribute of this name"}
}

// An ACL is a version number and entries: tag, permissions, and an id, which on disk only entries
// for a named user or group have.
const (
	aclHeader = 4
	aclEntry  = 8

	aclUserObj  = 0x01
	aclUser     = 0x02
	aclGroupObj = 0x04
	aclGroup    = 0x08
	aclMask     = 0x10
	aclOther    = 0x20
)

// checkACL returns an ACL if the kernel would accept it, "" if it is empty.
func checkACL(name, value string) (string, error) {
	invalid := &AttrError{name, "invalid ACL"}
	if len(value) < aclHeader || (len(value)-aclHeader)%aclEntry != 0 || le.Uint32([]byte(value)) != 2 {
		return "", invalid
	}
	var last uint16
	var seen uint16
	for e := range slices.Chunk([]byte(value[aclHeader:]), aclEntry) {
		tag := le.Uint16(e)
		named := tag == aclUser || tag == aclGroup
		if tag < last || tag == last && !named || le.Uint16(e[2:]) > 7 || named && le.Uint32(e[4:]) == ^uint32(0) {
			return "", invalid
		}
		seen |= tag
		last = tag
	}
	const all = aclUserObj | aclUser | aclGroupObj | aclGroup | aclMask | aclOther
	const must = aclUserObj | aclGroupObj | aclOther
	switch {
	case seen == 0:
		return "", nil
	case seen&^all != 0 || seen&must != must || seen&(aclUser|aclGroup) != 0 && seen&aclMask == 0:
		return "", invalid
	}
	return value, nil
}

// aclOfMode returns an ACL with the permissions of a mode, as chmod would change it, or "" if it is
// equivalent to the mode.
func aclOfMode(value string, mode uint32) string {
	p := []byte(value)
	entries := p[aclHeader:]
	masked := false
	for e := range slices.Chunk(entries, aclEntry) {
		masked = masked || le.Uint16(e) == aclMask
	}
	if !masked {
		return "" // it has no entry with an id
	}
	for e := range slices.Chunk(entries, aclEntry) {
		switch le.Uint16(e) {
		case aclUserObj:
			le.PutUint16(e[2:], uint16(mode>>6&7))
		case aclMask:
			le.PutUint16(e[2:], uint16(mode>>3&7))
		case aclOther:
			le.PutUint16(e[2:], uint16(mode&7))
		}
		if tag := le.Uint16(e); tag != aclUser && tag != aclGroup {
			le.PutUint32(e[4:], ^uint32(0))
		}
	}
	return string(p)
}

// placeAttrs decides where attributes are stored: as many as fit in the inode, the others in a
// block, and the largest values in inodes of their own until the rest fits.
func (fs *FS) placeAttrs(n *node) error {
	free := attrsInInode - attrEnd
	rest := 0
	for i := range n.attrs {
		a := &n.attrs[i]
		size := a.entrySize() + a.valueSize()
		if a.inBlock = size > free; a.inBlock {
			rest += size
		} else {
			free -= size
		}
	}
	for rest > attrsInBlock-attrEnd {
		largest := -1
		for i, a := range n.attrs {
			if a.inBlock && a.node == nil && (largest < 0 || a.valueSize() > n.attrs[largest].valueSize()) {
				largest = i
			}
		}
		if largest < 0 || n.attrs[largest].valueSize() == 0 {
			return &AttrError{n.attrs[len(n.attrs)-1].fullName(), "there are more attributes than ext4 has room for"}
		}
		a := &n.attrs[largest]
		rest -= a.valueSize()
		value := a.onDisk()
		a.node, a.value = fs.newValue(n, value), ""
	}
	n.attrsChanged = true
	return nil
}

// newValue creates the inode that holds the value of an attribute.
func (fs *FS) newValue(of *node, value string) *node {
	n := &node{
		mode: typeFile | 0o600, uid: of.uid, gid: of.gid, links: 1,
		size: int64(len(value)), hash: crc(fs.seed, []byte(value)), ea: true, dataChanged: true,
	}
	fs.setInode(n, fs.inodes.take(false))
	fs.eaInode = true
	p := make([]byte, ceil(uint64(len(value)), blockSize)*blockSize)
	copy(p, value)
	n.data = fs.allocate(uint64(len(p) / blockSize))
	for _, e := range n.data {
		fs.write(e.block, p[int(e.at)*blockSize:][:int(e.count)*blockSize])
	}
	return n
}

// releaseAttrs removes all attributes of a node.
func (fs *FS) releaseAttrs(n *node) {
	for _, a := range n.attrs {
		if v := a.node; v != nil {
			fs.releaseData(v)
			fs.releaseInode(v)
		}
	}
	if n.attrAt != 0 {
		fs.release(n.attrAt, 1)
	}
	n.attrs, n.attrAt, n.attrsChanged = nil, 0, true
}

// attrsOf returns the attributes of a node, nil if it has none.
func (fs *FS) attrsOf(n *node) (map[string]string, error) {
	if len(n.attrs) == 0 {
		return nil, nil
	}
	all := make(map[string]string, len(n.attrs))
	for _, a := range n.attrs {
		value := a.value
		if a.node != nil && !fs.full { // values are not written once the file system is full
			p := make([]byte, a.node.size)
			if _, err := (content{fs, a.node.data, a.node.size}).ReadAt(p, 0); err != nil {
				return nil, err
			}
			value = string(p)
		}
		all[a.fullName()] = value
	}
	return all, nil
}

// encodeInodeAttrs writes the attributes that are in the inode, after its fields.
func encodeInodeAttrs(n *node, p []byte) {
	if !slices.ContainsFunc(n.attrs, func(a attr) bool { return !a.inBlock }) {
		return
	}
	le.PutUint32(p, attrMagic)
	putAttrs(n, p[4:], 0, false)
}

// writeAttrs writes the attributes that are in a block.
func (fs *FS) writeAttrs(n *node) {
	if !n.attrsChanged {
		return
	}
	n.attrsChanged = false
	if !slices.ContainsFunc(n.attrs, func(a attr) bool { return a.inBlock }) {
		return
	}
	n.attrAt, _, _ = fs.take(1)
	p := make([]byte, blockSize)
	le.PutUint32(p[0:], attrMagic)
	le.PutUint32(p[4:], 1) // reference count
	le.PutUint32(p[8:], 1) // number of blocks
	le.PutUint32(p[12:], putAttrs(n, p, attrHeader, true))
	var at [8]byte
	le.PutUint64(at[:], n.attrAt)
	le.PutUint32(p[16:], crc(crc(fs.seed, at[:]), p))
	fs.write(n.attrAt, p)
}

// putAttrs writes entries from p[at:] on, and values from the end of p downwards. It returns the
// hash of all entries.
func putAttrs(n *node, p []byte, at int, inBlock bool) (all uint32) {
	end := len(p)
	shared := true
	for _, a := range n.attrs {
		if a.inBlock != inBlock {
			continue
		}
		e := p[at:]
		hash := hashName(a.name)
		e[0], e[1] = byte(len(a.name)), a.index
		if a.node != nil {
			le.PutUint32(e[4:], a.node.ino)
			le.PutUint32(e[8:], uint32(a.node.size))
			hash = hash<<16 ^ hash>>16 ^ a.node.hash
		} else {
			value := a.onDisk()
			end -= (len(value) + 3) &^ 3
			copy(p[end:], value)
			le.PutUint16(e[2:], uint16(end))
			le.PutUint32(e[8:], uint32(len(value)))
			for word := range slices.Chunk(p[end:end+(len(value)+3)&^3], 4) {
				hash = hash<<16 ^ hash>>16 ^ le.Uint32(word)
			}
			if !inBlock {
				hash = 0
			}
		}
		le.PutUint32(e[12:], hash)
		copy(e[attrEntry:], a.name)
		at += a.entrySize()
		shared = shared && hash != 0
		all = all<<16 ^ all>>16 ^ hash
	}
	if !shared {
		return 0
	}
	return all
}

// hashName returns the hash of an entry's name, which the hash of the entry starts from.
func hashName(name string) (hash uint32) {
	for i := range len(name) {
		hash = hash<<5 ^ hash>>27 ^ uint32(name[i])
	}
	return hash
}
