package ext4

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"math/bits"
	"slices"
)

// directory holds the data of a directory that is not in its inode.
//
// On disk its blocks hold entries: inode, length of the entry, length of the name, type, name. A
// directory that fits into one block starts with "." and "..". A larger one is a hash tree: its
// first block, and possibly one level of blocks below it, map ranges of hashes to blocks of names.
// Every block ends with a checksum.
type directory struct {
	parent  *node
	names   map[string]entry
	subdirs uint32
	indexed bool              // it is a hash tree
	listed  bool              // it is in FS.dirs
	sum     [sha256.Size]byte // of its blocks
}

// entry is a name in a directory. A removed entry is kept until Sync, so that a file created in its
// place can reuse its inode and blocks.
type entry struct {
	*node
	gone bool
}

const maxLinks = 65000

// Offsets and sizes in the blocks of directories.
const (
	entryHeader = 8
	dotSize     = 12                        // an entry of "." or ".."
	tailSize    = 12                        // an entry without a name, for the checksum
	entriesEnd  = blockSize - tailSize      // where entries end
	rootHead    = 2*dotSize + 8             // "." and "..", and the parameters of the hash
	nodeHead    = entryHeader               // an empty entry that spans the block
	indexEntry  = 8                         // hash and block
	indexEnd    = blockSize - indexEntry    // offset of the checksum in a block of the tree
	rootEntries = (indexEnd - rootHead) / 8 // includes the one for limit and count
	nodeEntries = (indexEnd - nodeHead) / 8
)

const halfMD4 = 1

// newDir creates a directory without a name. If ino is 0, it allocates an inode.
func (fs *FS) newDir(parent *node, ino uint32) *node {
	n := &node{mode: typeDir | 0o755, mtime: fs.time, links: 1}
	n.dir = &directory{parent: parent, names: map[string]entry{}}
	if ino == 0 {
		ino = fs.inodes.take(true)
	}
	fs.setInode(n, ino)
	fs.listDir(n)
	return n
}

// setInode assigns an inode to a new node.
func (fs *FS) setInode(n *node, ino uint32) {
	n.ino = ino
	fs.inodes.set(ino, n)
	fs.nodes++
	fs.peakNodes = max(fs.peakNodes, fs.nodes)
	fs.full = fs.full || fs.inodes.full
	fs.touch(n)
}

// releaseInode frees the inode of a node.
func (fs *FS) releaseInode(n *node) {
	fs.inodes.set(n.ino, nil)
	fs.nodes--
	n.released = true
	fs.touch(n)
}

// listDir records that the entries of a directory changed.
func (fs *FS) listDir(n *node) {
	fs.touch(n)
	if !n.dir.listed {
		n.dir.listed = true
		fs.dirs = append(fs.dirs, n)
	}
}

// enter adds a node to a directory under a name, replacing an existing entry.
func (fs *FS) enter(in *node, base string, n *node) {
	old := in.dir.names[base]
	if old.node != n {
		if old.node != nil {
			fs.remove(in, old)
		}
		if n.dir != nil {
			in.dir.subdirs++
		}
	}
	in.dir.names[base] = entry{node: n}
	fs.listDir(in)
}

// remove removes an entry from a directory.
func (fs *FS) remove(in *node, e entry) {
	if e.dir != nil {
		in.dir.subdirs--
	}
	fs.removed = append(fs.removed, e.node)
	fs.listDir(in)
}

// releaseRemoved frees the inodes and blocks of nodes without a name.
func (fs *FS) releaseRemoved() {
	for _, in := range fs.dirs {
		for base, e := range in.dir.names {
			if e.gone {
				delete(in.dir.names, base)
				fs.remove(in, e)
			}
		}
	}
	for len(fs.removed) > 0 {
		n := fs.removed[len(fs.removed)-1]
		fs.removed = fs.removed[:len(fs.removed)-1]
		fs.touch(n)
		if n.links--; n.links > 0 {
			continue
		}
		if n.dir != nil {
			for _, e := range n.dir.names {
				fs.removed = append(fs.removed, e.node)
			}
			n.dir.names = nil
		}
		fs.releaseData(n)
		fs.releaseAttrs(n)
		fs.releaseInode(n)
	}
}

// sortedNames returns the names in a directory that are not removed.
func (d *directory) sortedNames() []string {
	names := make([]string, 0, len(d.names))
	for name, e := range d.names {
		if !e.gone {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// writeDir writes a directory to newly allocated consecutive blocks. Its previous blocks are not
// overwritten.
func (fs *FS) writeDir(n *node) error {
	names := n.dir.sortedNames()
	size := 2 * dotSize
	for _, name := range names {
		size += entrySize(name)
	}
	var blocks []byte
	n.dir.indexed = size > entriesEnd
	if n.dir.indexed {
		var err error
		if blocks, err = fs.encodeTree(n, names); err != nil {
			return fmt.Errorf("directory with inode %d: %w", n.ino, err)
		}
	} else {
		count := 1
		if n == fs.lost {
			count = lostBlocks
		}
		blocks = make([]byte, count*blockSize)
		fs.putNames(n, blocks[:blockSize], putDots(blocks, n, dotSize), names)
		for i := 1; i < count; i++ {
			fs.putNames(n, blocks[i*blockSize:][:blockSize], 0, nil)
		}
	}
	sum := sha256.Sum256(blocks)
	if sum == n.dir.sum {
		return nil
	}
	fs.releaseData(n)
	n.dir.sum = sum
	n.size = int64(len(blocks))
	n.data = fs.allocate(uint64(len(blocks) / blockSize))
	n.dataChanged = true
	for _, e := range n.data {
		fs.write(e.block, blocks[int(e.at)*blockSize:][:int(e.count)*blockSize])
	}
	return nil
}

func entrySize(name string) int { return (entryHeader + len(name) + 3) &^ 3 }

// putEntry writes an entry that is size bytes long.
func putEntry(p []byte, ino uint32, size int, kind byte, name string) {
	le.PutUint32(p, ino)
	le.PutUint16(p[4:], uint16(size))
	p[6], p[7] = byte(len(name)), kind
	copy(p[entryHeader:], name)
}

// entryType returns the file type for a directory entry.
func entryType(n *node) byte {
	switch n.mode & typeMask {
	case typeFile:
		return 1
	case typeDir:
		return 2
	case typeChar:
		return 3
	case typeBlock:
		return 4
	case typeFifo:
		return 5
	case typeSocket:
		return 6
	default:
		return 7
	}
}

// putDots writes "." and ".."; the latter is size bytes long.
func putDots(p []byte, n *node, size int) (end int) {
	putEntry(p, n.ino, dotSize, 2, ".")
	putEntry(p[dotSize:], n.dir.parent.ino, size, 2, "..")
	return dotSize + size
}

// putNames fills a block with entries, starting at offset at, and writes its checksum. The last
// entry spans the rest of the block.
func (fs *FS) putNames(n *node, p []byte, at int, names []string) {
	last := at - dotSize // the offset of ".."
	for _, name := range names {
		m := n.dir.names[name]
		last = at
		putEntry(p[at:], m.ino, entrySize(name), entryType(m.node), name)
		at += entrySize(name)
	}
	switch {
	case at == 0:
		putEntry(p, 0, entriesEnd, 0, "")
	case at < entriesEnd:
		le.PutUint16(p[last+4:], uint16(entriesEnd-last))
	}
	putEntry(p[entriesEnd:], 0, tailSize, 0xDE, "")
	le.PutUint32(p[entriesEnd+entryHeader:], crc(fs.sumOf(n), p[:entriesEnd]))
}

// leaf is a block of names, sorted by hash.
type leaf struct {
	hash  uint32 // the lowest one; odd if the preceding block ends with the same hash
	names []string
}

// encodeTree returns the blocks of a directory that does not fit into one.
func (fs *FS) encodeTree(n *node, names []string) ([]byte, error) {
	leaves := fs.leaves(names)
	levels := 0
	inner := 0
	if len(leaves) > rootEntries {
		levels = 1
		inner = (len(leaves) + nodeEntries - 1) / nodeEntries
		if inner > rootEntries {
			return nil, ErrLinks
		}
	}
	p := make([]byte, (1+inner+len(leaves))*blockSize)
	at := 1 + inner
	for i, l := range leaves {
		fs.putNames(n, p[(at+i)*blockSize:][:blockSize], 0, l.names)
	}
	top := make([]indexed, 0, rootEntries)
	if levels == 0 {
		for i, l := range leaves {
			top = append(top, indexed{l.hash, uint32(at + i)})
		}
	}
	for i := range inner {
		part := leaves[i*nodeEntries : min((i+1)*nodeEntries, len(leaves))]
		var index []indexed
		for j, l := range part {
			index = append(index, indexed{l.hash, uint32(at + i*nodeEntries + j)})
		}
		block := p[(1+i)*blockSize:][:blockSize]
		putEntry(block, 0, blockSize, 0, "")
		fs.putIndex(n, block, nodeHead, nodeEntries, index)
		top = append(top, indexed{part[0].hash, uint32(1 + i)})
	}
	putDots(p, n, blockSize-dotSize)
	p[rootHead-4] = halfMD4
	p[rootHead-3] = 8 // length of this header
	p[rootHead-2] = byte(levels)
	fs.putIndex(n, p[:blockSize], rootHead, rootEntries, top)
	return p, nil
}

// indexed is an entry of an index block: names from hash on are in block.
type indexed struct{ hash, block uint32 }

// putIndex writes the entries of an index block. The first one has the limit and count of entries
// in place of a hash.
func (fs *FS) putIndex(n *node, p []byte, at, limit int, index []indexed) {
	end := at + len(index)*indexEntry
	for i, e := range index {
		le.PutUint32(p[at+i*indexEntry:], e.hash)
		le.PutUint32(p[at+i*indexEntry+4:], e.block)
	}
	le.PutUint16(p[at:], uint16(limit))
	le.PutUint16(p[at+2:], uint16(len(index)))
	sum := crc(fs.sumOf(n), p[:end])
	tail := p[at+limit*indexEntry:][:indexEntry]
	sum = crc(sum, tail)
	le.PutUint32(tail[4:], sum)
}

// leaves distributes names to blocks.
func (fs *FS) leaves(names []string) []leaf {
	type hashed struct {
		hash, minor uint32
		name        string
	}
	all := make([]hashed, len(names))
	for i, name := range names {
		h, minor := dirHash(fs.opt.HashSeed, name)
		all[i] = hashed{h, minor, name}
	}
	slices.SortFunc(all, func(a, b hashed) int {
		return cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.minor, b.minor), cmp.Compare(a.name, b.name))
	})
	leaves := []leaf{{}}
	size := 0
	for i, h := range all {
		if size+entrySize(h.name) > entriesEnd {
			first := h.hash
			if all[i-1].hash == first {
				first |= 1
			}
			leaves = append(leaves, leaf{hash: first})
			size = 0
		}
		l := &leaves[len(leaves)-1]
		l.names = append(l.names, h.name)
		size += entrySize(h.name)
	}
	return leaves
}

// dirHash returns the major and minor hash of a name: half MD4, 32 bytes at a time.
func dirHash(seed [16]byte, name string) (hash, minor uint32) {
	sum := [4]uint32{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476}
	if seed != [16]byte{} {
		for i := range sum {
			sum[i] = le.Uint32(seed[4*i:])
		}
	}
	for rest := name; len(rest) > 0; rest = rest[min(32, len(rest)):] {
		shortMD4(&sum, hashInput(rest))
	}
	hash = sum[1] &^ 1
	if hash == 0xfffffffe { // reserved for the end of a directory
		hash -= 2
	}
	return hash, sum[2]
}

// hashInput returns the first 32 bytes of a name, as signed characters, padded with its length.
func hashInput(name string) (in [8]uint32) {
	pad := uint32(len(name)) | uint32(len(name))<<8
	pad |= pad << 16
	for i := range in {
		v := pad
		for j := 4 * i; j < min(4*i+4, len(name)); j++ {
			v = uint32(int32(int8(name[j]))) + v<<8
		}
		in[i] = v
	}
	return in
}

// shortMD4 is the half MD4 transform: three rounds over 8 words instead of 16.
func shortMD4(sum *[4]uint32, in [8]uint32) {
	rounds := [3]struct {
		f     func(x, y, z uint32) uint32
		add   uint32
		order [8]int
		shift [4]int
	}{
		{func(x, y, z uint32) uint32 { return z ^ x&(y^z) }, 0, [8]int{0, 1, 2, 3, 4, 5, 6, 7}, [4]int{3, 7, 11, 19}},
		{func(x, y, z uint32) uint32 { return x&y + (x^y)&z }, 0x5A827999, [8]int{1, 3, 5, 7, 0, 2, 4, 6}, [4]int{3, 5, 9, 13}},
		{func(x, y, z uint32) uint32 { return x ^ y ^ z }, 0x6ED9EBA1, [8]int{3, 7, 2, 6, 1, 5, 0, 4}, [4]int{3, 9, 11, 15}},
	}
	s := *sum
	for _, r := range rounds {
		for i, k := range r.order {
			a := (4 - i%4) % 4 // the word to update: 0, 3, 2, 1, …
			s[a] = bits.RotateLeft32(s[a]+r.f(s[(a+1)%4], s[(a+2)%4], s[(a+3)%4])+in[k]+r.add, r.shift[i%4])
		}
	}
	for i := range sum {
		sum[i] += s[i]
	}
}
