package ext4

import (
	"bytes"
)

// Feature flags of the superblock.
const (
	compatJournal  = 0x4
	compatAttrs    = 0x8
	compatResize   = 0x10
	compatDirIndex = 0x20

	incompatFiletype = 0x2
	incompatExtents  = 0x40
	incompat64bit    = 0x80
	incompatFlexBG   = 0x200
	incompatEAInode  = 0x400

	roSparseSuper = 0x1
	roLargeFile   = 0x2
	roHugeFile    = 0x8
	roDirNlink    = 0x20
	roExtraSize   = 0x40
	roChecksums   = 0x400
)

const superSize = 1024

// encodeSuper returns the superblock for a group, which must be 0 or have a copy.
func (fs *FS) encodeSuper(group uint64) []byte {
	l := fs.lay
	p := make([]byte, superSize)
	compat := uint32(compatJournal | compatAttrs | compatDirIndex)
	if l.reservedGDT > 0 {
		compat |= compatResize
	}
	incompat := uint32(incompatFiletype | incompatExtents | incompat64bit | incompatFlexBG)
	if fs.eaInode {
		incompat |= incompatEAInode
	}
	freeInodes := uint32(0)
	for d := 0; d < len(fs.gdt); d += descSize {
		freeInodes += uint32(le.Uint16(fs.gdt[d+0x0E:])) | uint32(le.Uint16(fs.gdt[d+0x2E:]))<<16
	}
	now := func(at, high int) {
		le.PutUint32(p[at:], uint32(fs.time.sec))
		p[high] = byte(fs.time.sec >> 32)
	}
	le.PutUint32(p[0x00:], uint32(l.inodes()))
	le.PutUint32(p[0x04:], uint32(l.blocks))
	le.PutUint32(p[0x08:], uint32(l.blocks/20)) // reserved for root: 5%
	le.PutUint32(p[0x0C:], uint32(fs.blocks.free))
	le.PutUint32(p[0x10:], freeInodes)
	le.PutUint32(p[0x18:], 2) // blocks are 1024 << 2 bytes
	le.PutUint32(p[0x1C:], 2)
	le.PutUint32(p[0x20:], groupBlocks)
	le.PutUint32(p[0x24:], groupBlocks)
	le.PutUint32(p[0x28:], uint32(l.inodesPerGroup))
	now(0x30, 0x274)                   // last write
	le.PutUint16(p[0x36:], 0xFFFF)     // no check after a number of mounts
	le.PutUint16(p[0x38:], 0xEF53)     // magic number
	le.PutUint16(p[0x3A:], 1)          // clean
	le.PutUint16(p[0x3C:], 1)          // continue after errors
	now(0x40, 0x277)                   // last check
	le.PutUint32(p[0x4C:], 1)          // dynamic revision: the fields below are valid
	le.PutUint32(p[0x54:], firstInode) //
	le.PutUint16(p[0x58:], inodeSize)
	le.PutUint16(p[0x5A:], uint16(group))
	le.PutUint32(p[0x5C:], compat)
	le.PutUint32(p[0x60:], incompat)
	le.PutUint32(p[0x64:], roSparseSuper|roLargeFile|roHugeFile|roDirNlink|roExtraSize|roChecksums)
	copy(p[0x68:0x78], fs.opt.UUID[:])
	copy(p[0x78:0x88], fs.opt.Label)
	le.PutUint16(p[0xCE:], uint16(l.reservedGDT))
	le.PutUint32(p[0xE0:], journalInode)
	copy(p[0xEC:0xFC], fs.opt.HashSeed[:])
	p[0xFC] = halfMD4
	p[0xFD] = 1 // the journal's location is copied below
	le.PutUint16(p[0xFE:], descSize)
	le.PutUint32(p[0x100:], 0x0C) // default mount options: user attributes and ACLs
	now(0x108, 0x276)             // creation
	fs.encodeRoot(fs.journal, p[0x10C:][:inodeBlockSize])
	le.PutUint32(p[0x148:], uint32(fs.journal.size>>32))
	le.PutUint32(p[0x14C:], uint32(fs.journal.size))
	le.PutUint16(p[0x15C:], inodeExtraSize)
	le.PutUint16(p[0x15E:], inodeExtraSize)
	le.PutUint32(p[0x160:], 1) // hashes use signed characters
	p[0x174] = 4               // flexGroups is 1 << 4
	p[0x175] = 1               // checksums are CRC32c
	le.PutUint32(p[0x248:], uint32(l.blocks-l.free+l.journal))
	le.PutUint32(p[0x3FC:], crc(^uint32(0), p[:0x3FC]))
	return p
}

// descSize is the size of a group descriptor: the locations of the group's bitmaps and table, free
// counts, and checksums.
const descSize = 64

// Flags of groups.
const (
	groupNoInodes = 0x1 // its inodes were never used: neither bitmap nor table is written
	groupNoBlocks = 0x2 // its bitmap is not written: only superblock and descriptors are in use
	groupZeroed   = 0x4 // unused parts of the table are zero
)

// writeGroups writes changed bitmaps, the descriptors and the superblock.
func (fs *FS) writeGroups() {
	l := fs.lay
	gdt := bytes.Clone(fs.gdt)
	if gdt == nil {
		gdt = make([]byte, l.descBlocks*blockSize)
	}
	for g := range l.groups {
		b := &fs.blocks.groups[g]
		inodesChanged := fs.inodes.changed[uint32(g)]
		if !fs.initialWrite && !b.changed && !inodesChanged {
			continue
		}
		d := gdt[g*descSize:][:descSize]
		if fs.initialWrite {
			put64(d, 0x00, 0x20, l.places[g].blockBitmap)
			put64(d, 0x04, 0x24, l.places[g].inodeBitmap)
			put64(d, 0x08, 0x28, l.places[g].inodeTable)
		}
		flags := uint16(groupZeroed)
		put32(d, 0x0C, 0x2C, b.free)
		if b.bits == nil {
			flags |= groupNoBlocks
		} else if b.changed {
			fs.writeBitmap(l.places[g].blockBitmap, b.bits[:], blockSize, d, 0x18, 0x38)
		}
		if fs.inodes.high[g] == 0 {
			flags |= groupNoInodes
		}
		if fs.initialWrite || inodesChanged {
			fs.writeInodeBitmap(g, d)
		}
		le.PutUint16(d[0x12:], flags)
		fs.sumGroup(g, d)
		b.changed = false
	}
	clear(fs.inodes.changed)
	for at := 0; at < len(gdt); at += blockSize {
		if p := gdt[at : at+blockSize]; fs.initialWrite || !bytes.Equal(p, fs.gdt[at:at+blockSize]) {
			fs.write(1+uint64(at/blockSize), p)
		}
	}
	fs.gdt = gdt
	if fs.initialWrite {
		fs.writeJournal()
		fs.writeResize()
	}
	fs.writeSuper()
}

// put64 writes the low and high half of a 64-bit number to two offsets, put32 those of a 32-bit
// number.
func put64(p []byte, low, high int, v uint64) {
	le.PutUint32(p[low:], uint32(v))
	le.PutUint32(p[high:], uint32(v>>32))
}

func put32(p []byte, low, high int, v uint32) {
	le.PutUint16(p[low:], uint16(v))
	le.PutUint16(p[high:], uint16(v>>16))
}

// sumGroup writes the checksum of a descriptor, the low half of a CRC32c.
func (fs *FS) sumGroup(g uint64, d []byte) {
	var number [4]byte
	le.PutUint32(number[:], uint32(g))
	le.PutUint16(d[0x1E:], 0)
	le.PutUint16(d[0x1E:], uint16(crc(crc(fs.seed, number[:]), d)))
}

// writeBitmap writes a bitmap, and the checksum of its first bytes to the descriptor.
func (fs *FS) writeBitmap(block uint64, words []uint64, bytes int, d []byte, low, high int) {
	p := make([]byte, blockSize)
	for i, w := range words {
		le.PutUint64(p[8*i:], w)
	}
	fs.write(block, p)
	put32(d, low, high, crc(fs.seed, p[:bytes]))
}

// writeInodeBitmap writes the inode bitmap of a group, unless no inode was ever used, and the
// counts of free and unused inodes and of directories to the descriptor.
func (fs *FS) writeInodeBitmap(g uint64, d []byte) {
	perGroup, high := uint32(fs.lay.inodesPerGroup), fs.inodes.high[g]
	used, dirs := uint32(0), uint32(0)
	if high > 0 {
		var words [blockSize / 8]uint64
		for i := perGroup; i < 8*blockSize; i++ {
			words[i/64] |= 1 << (i % 64)
		}
		first := uint32(g) * perGroup
		for i := range high {
			n := fs.inodes.get(first + i + 1)
			if n == nil && (g > 0 || i >= firstInode-1) {
				continue
			}
			used++
			words[i/64] |= 1 << (i % 64)
			if n != nil && n.dir != nil {
				dirs++
			}
		}
		fs.writeBitmap(fs.lay.places[g].inodeBitmap, words[:], int(perGroup/8), d, 0x1A, 0x3A)
	}
	put32(d, 0x0E, 0x2E, perGroup-used)
	put32(d, 0x10, 0x30, dirs)
	put32(d, 0x1C, 0x32, perGroup-high)
}

// writeSuper writes the superblock. Copies of it and of the descriptors are written only initially
// and when a feature is added, as the kernel does.
func (fs *FS) writeSuper() {
	super := fs.encodeSuper(0)
	if bytes.Equal(super, fs.super) {
		return
	}
	features := super[0x5C:0x68]
	copies := fs.super == nil || !bytes.Equal(features, fs.super[0x5C:0x68])
	fs.super = super
	block := make([]byte, blockSize)
	copy(block[superSize:], super)
	fs.write(0, block)
	if !copies {
		return
	}
	for _, g := range fs.lay.copies {
		block := make([]byte, blockSize)
		copy(block, fs.encodeSuper(g))
		fs.write(g*groupBlocks, block)
		fs.write(g*groupBlocks+1, fs.gdt)
	}
}

// writeJournal writes the first block of the journal, which is empty, in the big-endian format of
// jbd2.
func (fs *FS) writeJournal() {
	p := make([]byte, blockSize)
	be.PutUint32(p[0x00:], 0xC03B3998)
	be.PutUint32(p[0x04:], 4) // a superblock of version 2
	be.PutUint32(p[0x0C:], blockSize)
	be.PutUint32(p[0x10:], uint32(fs.lay.journal))
	be.PutUint32(p[0x14:], 1) // the first block of the log
	be.PutUint32(p[0x18:], 1) // the first transaction
	copy(p[0x30:0x40], fs.opt.UUID[:])
	be.PutUint32(p[0x40:], 1) // file systems that use it
	fs.write(fs.journal.data[0].block, p)
}

// pointers is the number of block numbers in an indirect block of ext2.
const pointers = blockSize / 4

// writeResize writes the inode that resize2fs and the kernel need to add groups: a file with
// indirect blocks, as in ext2, made of the blocks reserved for descriptors. Its double indirect
// block points to those of group 0, and each of these points to its copies in other groups.
func (fs *FS) writeResize() {
	l := fs.lay
	if l.reservedGDT == 0 {
		return
	}
	top := make([]byte, blockSize)
	for i := range l.reservedGDT {
		block := 1 + l.descBlocks + i
		le.PutUint32(top[(l.descBlocks+i)%pointers*4:], uint32(block))
		p := make([]byte, blockSize)
		for j, g := range l.copies {
			le.PutUint32(p[4*j:], uint32(g*groupBlocks+block))
		}
		if len(l.copies) > 0 {
			fs.write(block, p)
		}
	}
	fs.write(fs.resizeBlock, top)
}

// encodeResize writes the special fields of that inode. It returns how many blocks the file has.
func (fs *FS) encodeResize(n *node, p []byte) (blocks uint64) {
	n.size = (pointers*pointers + pointers + 12) * blockSize
	le.PutUint32(p[inodeBlock+4*13:], uint32(fs.resizeBlock))
	return 1 + fs.lay.reservedGDT*uint64(1+len(fs.lay.copies))
}
