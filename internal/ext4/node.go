package ext4

import (
	"encoding/binary"
	"math"
	"time"
)

// Types of inodes, and the mask of the permissions.
const (
	typeFifo    = 0o010000
	typeChar    = 0o020000
	typeDir     = 0o040000
	typeBlock   = 0o060000
	typeFile    = 0o100000
	typeSymlink = 0o120000
	typeSocket  = 0o140000
	typeMask    = 0o170000
	permissions = 0o007777
)

// node is an inode. In the inode table it takes 256 bytes: the 156 of struct ext4_inode, extended
// attributes if they fit, and a checksum of its number and content.
type node struct {
	ino      uint32
	mode     uint32 // type and permissions
	uid, gid uint32
	links    uint32 // names; those of a directory are counted in dir
	size     int64
	mtime    timestamp // also the access time
	dev      [2]uint32 // major and minor, of devices
	target   string    // of symbolic links
	data     []extent
	tree     []extentBlock // blocks of the extent tree, if the extents do not fit into the inode
	attrs    []attr
	attrAt   uint64 // the block of attributes, 0 for none
	dir      *directory

	changed      bool // the inode must be written
	dataChanged  bool // its extents changed
	attrsChanged bool
	released     bool // its inode was freed

	ea   bool   // it holds the value of an extended attribute
	hash uint32 // of that value
}

// timestamp is seconds since 1970 and nanoseconds. On disk the seconds have 34 bits; times outside
// 1901 to 2446 are clamped.
type timestamp struct {
	sec  int64
	nsec uint32
}

func newTimestamp(t time.Time) timestamp {
	const first, last = math.MinInt32, math.MinInt32 + 1<<34 - 1
	switch sec := t.Unix(); {
	case sec < first:
		return timestamp{first, 0}
	case sec > last:
		return timestamp{last, 0}
	default:
		return timestamp{sec, uint32(t.Nanosecond())}
	}
}

func (t timestamp) time() time.Time { return time.Unix(t.sec, int64(t.nsec)).UTC() }

// put writes the low 32 bits of the seconds to low, and the high two with the nanoseconds to extra.
func (t timestamp) put(low, extra []byte) {
	le.PutUint32(low, uint32(t.sec))
	le.PutUint32(extra, uint32((t.sec-int64(int32(t.sec)))>>32)&3|t.nsec<<2)
}

var (
	le = binary.LittleEndian
	be = binary.BigEndian // of the journal
)

// Flags of inodes.
const (
	flagIndex   = 0x1000   // a hashed directory
	flagExtents = 0x80000  // i_block is the root of an extent tree
	flagValue   = 0x200000 // the value of an extended attribute
)

// Offsets of the fields of an inode.
const (
	inodeBlock      = 0x28 // 60 bytes: extents, the target of a link, or a device
	inodeBlockSize  = 60
	inodeExtra      = 0x80 // where the fields added since ext2 begin
	inodeExtraSize  = 32
	inodeAttributes = inodeExtra + inodeExtraSize
)

// encode writes the inode into p, which must be all zeros.
func (fs *FS) encode(n *node, p []byte) {
	links := n.links
	blocks := countBlocks(n.data) + uint64(len(n.tree))
	if n.attrAt != 0 {
		blocks++
	}
	for _, a := range n.attrs {
		if a.node != nil { // its blocks count for both
			blocks += countBlocks(a.node.data)
		}
	}
	flags := uint32(0)
	switch {
	case n.ino == resizeInode:
		blocks = fs.encodeResize(n, p)
	case n.mode&typeMask == typeSymlink && len(n.data) == 0:
		copy(p[inodeBlock:], n.target)
	case n.mode&typeMask == typeChar || n.mode&typeMask == typeBlock:
		putDevice(p[inodeBlock:], n.dev[0], n.dev[1])
	case n.mode&typeMask == typeFile || n.mode&typeMask == typeDir || len(n.data) > 0:
		flags |= flagExtents
		fs.encodeRoot(n, p[inodeBlock:inodeBlock+inodeBlockSize])
	}
	if n.dir != nil {
		links = 2 + n.dir.subdirs
		if links > maxLinks {
			links = 1 // means more links than can be stored
		}
		if n.dir.indexed {
			flags |= flagIndex
		}
	}
	le.PutUint16(p[0x00:], uint16(n.mode))
	le.PutUint16(p[0x02:], uint16(n.uid))
	le.PutUint32(p[0x04:], uint32(n.size))
	n.mtime.put(p[0x08:], p[0x8C:])
	fs.time.put(p[0x0C:], p[0x84:])
	n.mtime.put(p[0x10:], p[0x88:])
	le.PutUint16(p[0x18:], uint16(n.gid))
	le.PutUint16(p[0x1A:], uint16(links))
	le.PutUint32(p[0x1C:], uint32(blocks*blockSize/512))
	le.PutUint32(p[0x68:], uint32(n.attrAt))
	le.PutUint32(p[0x6C:], uint32(n.size>>32))
	le.PutUint16(p[0x74:], uint16(blocks*blockSize/512>>32))
	le.PutUint16(p[0x76:], uint16(n.attrAt>>32))
	le.PutUint16(p[0x78:], uint16(n.uid>>16))
	le.PutUint16(p[0x7A:], uint16(n.gid>>16))
	le.PutUint16(p[0x80:], inodeExtraSize)
	fs.time.put(p[0x90:], p[0x94:])
	if n.ea { // its time fields hold the hash of the value and a reference count
		flags |= flagValue
		clear(p[0x08:0x14])
		clear(p[0x84:0x90])
		le.PutUint32(p[0x08:], n.hash)
		le.PutUint32(p[0x24:], 1)
	}
	le.PutUint32(p[0x20:], flags)
	encodeInodeAttrs(n, p[inodeAttributes:])
	sum := crc(fs.sumOf(n), p)
	le.PutUint16(p[0x7C:], uint16(sum))
	le.PutUint16(p[0x82:], uint16(sum>>16))
}

// sumOf returns the seed for checksums of an inode and of its blocks: the file system's seed,
// extended by the inode's number and its generation, which is 0.
func (fs *FS) sumOf(n *node) uint32 {
	var p [8]byte
	le.PutUint32(p[:], n.ino)
	return crc(fs.seed, p[:])
}

// putDevice writes a device number, in the old format if it fits.
func putDevice(p []byte, major, minor uint32) {
	if major < 256 && minor < 256 {
		le.PutUint32(p, major<<8|minor)
		return
	}
	le.PutUint32(p[4:], minor&0xff|major<<8|minor&^0xff<<12)
}

// extentBlock is a block of an extent tree. The root of the tree is in the inode, with up to four
// entries; blocks have up to 340 and end with a checksum. A tree node is a header of 12 bytes and
// entries of 12 bytes: extents in the leaves; above them, the first index in the file and the block
// number of each child.
type extentBlock struct {
	block uint64
	first uint32
}

const (
	extentEntry  = 12
	extentsInode = (inodeBlockSize - extentEntry) / extentEntry
	extentsBlock = (blockSize - extentEntry - 4) / extentEntry
	extentMagic  = 0xF30A
)

func putExtentHeader(p []byte, entries, limit, depth int) {
	le.PutUint16(p[0:], extentMagic)
	le.PutUint16(p[2:], uint16(entries))
	le.PutUint16(p[4:], uint16(limit))
	le.PutUint16(p[6:], uint16(depth))
}

func putExtent(p []byte, e extent) {
	le.PutUint32(p[0:], e.at)
	le.PutUint16(p[4:], uint16(e.count))
	le.PutUint16(p[6:], uint16(e.block>>32))
	le.PutUint32(p[8:], uint32(e.block))
}

func putExtentIndex(p []byte, b extentBlock) {
	le.PutUint32(p[0:], b.first)
	le.PutUint32(p[4:], uint32(b.block))
	le.PutUint16(p[8:], uint16(b.block>>32))
}

// putEntries writes the entries of a tree node.
func putEntries[E any](p []byte, entries []E, put func([]byte, E)) {
	for i, e := range entries {
		put(p[extentEntry*(i+1):], e)
	}
}

// levels returns the blocks of the tree by level, the leaves first.
func (n *node) levels() [][]extentBlock {
	var all [][]extentBlock
	rest := n.tree
	for below := len(n.data); below > extentsInode; {
		m := (below + extentsBlock - 1) / extentsBlock
		all = append(all, rest[:m])
		rest, below = rest[m:], m
	}
	return all
}

// encodeRoot writes the root of the extent tree, which is in the inode.
func (fs *FS) encodeRoot(n *node, p []byte) {
	levels := n.levels()
	if len(levels) == 0 {
		putExtentHeader(p, len(n.data), extentsInode, 0)
		putEntries(p, n.data, putExtent)
		return
	}
	top := levels[len(levels)-1]
	putExtentHeader(p, len(top), extentsInode, len(levels))
	putEntries(p, top, putExtentIndex)
}

// writeBlocksOf writes the metadata of a node that is outside its inode: extents and attributes.
func (fs *FS) writeBlocksOf(n *node) {
	if n.released {
		return
	}
	fs.writeTree(n)
	fs.writeAttrs(n)
}

// writeTree writes the extent tree to newly allocated blocks, if it does not fit into the inode.
func (fs *FS) writeTree(n *node) {
	if !n.dataChanged {
		return
	}
	n.dataChanged = false
	for _, b := range n.tree {
		fs.release(b.block, 1)
	}
	n.tree = n.tree[:0]
	for below := len(n.data); below > extentsInode; below = (below + extentsBlock - 1) / extentsBlock {
		for range (below + extentsBlock - 1) / extentsBlock {
			block, _, _ := fs.take(1)
			n.tree = append(n.tree, extentBlock{block: block})
		}
	}
	levels := n.levels()
	for depth, level := range levels {
		for i := range level {
			p := make([]byte, blockSize)
			from := i * extentsBlock
			if depth == 0 {
				entries := n.data[from:min(from+extentsBlock, len(n.data))]
				level[i].first = entries[0].at
				putExtentHeader(p, len(entries), extentsBlock, depth)
				putEntries(p, entries, putExtent)
			} else {
				entries := levels[depth-1]
				entries = entries[from:min(from+extentsBlock, len(entries))]
				level[i].first = entries[0].first
				putExtentHeader(p, len(entries), extentsBlock, depth)
				putEntries(p, entries, putExtentIndex)
			}
			end := extentEntry * (extentsBlock + 1)
			le.PutUint32(p[end:], crc(fs.sumOf(n), p[:end]))
			fs.write(level[i].block, p)
		}
	}
}

// writeInodes writes the blocks of the inode table with changed inodes.
func (fs *FS) writeInodes() {
	const perBlock = blockSize / inodeSize
	last := uint32(math.MaxUint32)
	for _, n := range fs.changed {
		b := (n.ino - 1) / perBlock
		if b == last {
			continue
		}
		last = b
		p := make([]byte, blockSize)
		for i := range uint32(perBlock) {
			if m := fs.inodes.get(b*perBlock + i + 1); m != nil {
				fs.encode(m, p[i*inodeSize:(i+1)*inodeSize])
			}
		}
		group := uint64(n.ino-1) / fs.lay.inodesPerGroup
		index := uint64(b) - group*fs.lay.tableBlocks()
		fs.write(fs.lay.places[group].inodeTable+index, p)
	}
}
