package ext4

// layout holds the location of all metadata. It is the one that mke2fs would choose, except that
// bitmaps and inode tables start at multiples of 64 KiB, so that they share no cluster of a disk
// image with other data.
//
// The device is divided into groups of 32,768 blocks. The first blocks of group 0 are the
// superblock, at offset 1024, and the group descriptors, followed by blocks reserved for more
// descriptors. Group 1 and the groups whose numbers are powers of 3, 5 and 7 have copies of these.
// Each group has a bitmap of its blocks, a bitmap of its inodes, and a part of the inode table;
// those of 16 groups are stored together at the start of the first of them.
type layout struct {
	blocks         uint64 // of the whole file system
	groups         uint64
	descBlocks     uint64 // blocks of group descriptors
	reservedGDT    uint64 // blocks reserved for more of them
	inodesPerGroup uint64
	journal        uint64 // in blocks
	free           uint64 // blocks that are not metadata of groups; the journal is included
	places         []place
	copies         []uint64 // groups with a copy of the superblock
}

// place holds the first block of each kind of metadata of a group.
type place struct{ blockBitmap, inodeBitmap, inodeTable uint64 }

const align = 16 // blocks in a cluster of 64 KiB

// newLayout returns the layout for a device of that many blocks, nil if that is too small.
func newLayout(blocks uint64, inodes int) *layout {
	for {
		l, rest := tryLayout(blocks, inodes)
		if l != nil || rest == 0 {
			return l
		}
		blocks -= rest // the last group is too small for its own metadata
	}
}

// tryLayout returns nil if the last group, of rest blocks, is too small.
func tryLayout(blocks uint64, inodes int) (l *layout, rest uint64) {
	l = &layout{blocks: blocks, groups: ceil(blocks, groupBlocks)}
	if blocks == 0 {
		return nil, 0
	}
	l.descBlocks = ceil(l.groups*descSize, blockSize)
	limit := uint64(1) << 32
	if blocks < limit/1024 {
		limit = blocks * 1024
	}
	l.reservedGDT = min(ceil(ceil(limit, groupBlocks)*descSize, blockSize)-l.descBlocks, pointers)
	want := max(blocks*blockSize/(16<<10), uint64(inodes)+firstInode)
	l.inodesPerGroup = ceil(ceil(want, l.groups), chunk) * chunk
	if l.inodesPerGroup > 8*blockSize {
		return nil, 0
	}
	l.journal = journalBlocks(blocks)
	// The last group must hold its own metadata and at least some data.
	rest = blocks - (l.groups-1)*groupBlocks
	if rest < l.baseBlocks(l.groups-1)+2+l.tableBlocks()+4*align || !l.place() {
		return nil, rest
	}
	l.free = blocks
	for g := range l.groups {
		l.free -= l.baseBlocks(g) + 2 + l.tableBlocks()
		if g > 0 && hasSuper(g) {
			l.copies = append(l.copies, g)
		}
	}
	return l, 0
}

func ceil(a, b uint64) uint64 { return (a + b - 1) / b }

func (l *layout) inodes() uint64 { return l.groups * l.inodesPerGroup }

func (l *layout) tableBlocks() uint64 { return l.inodesPerGroup * inodeSize / blockSize }

// hasSuper reports whether a group has a copy of superblock and descriptors.
func hasSuper(group uint64) bool {
	if group <= 1 {
		return true
	}
	for _, base := range []uint64{3, 5, 7} {
		power := base
		for power < group {
			power *= base
		}
		if power == group {
			return true
		}
	}
	return false
}

// baseBlocks returns the number of blocks for superblock and descriptors at the start of a group.
func (l *layout) baseBlocks(group uint64) uint64 {
	if !hasSuper(group) {
		return 0
	}
	return 1 + l.descBlocks + l.reservedGDT
}

// place assigns locations to bitmaps and tables, and reports whether they fit.
func (l *layout) place() bool {
	l.places = make([]place, l.groups)
	for first := uint64(0); first < l.groups; first += flexGroups {
		groups := l.places[first:min(first+flexGroups, l.groups)]
		at := l.after(first*groupBlocks, 1)
		for i := range groups {
			groups[i].blockBitmap = l.after(at, 1)
			at = groups[i].blockBitmap + 1
		}
		at = ceil(at, align) * align
		for i := range groups {
			groups[i].inodeBitmap = l.after(at, 1)
			at = groups[i].inodeBitmap + 1
		}
		for i := range groups {
			groups[i].inodeTable = l.after(at, l.tableBlocks())
			at = groups[i].inodeTable + l.tableBlocks()
		}
		if at > l.blocks {
			return false
		}
	}
	return true
}

// after returns n consecutive blocks, from at on, that are free of copies of the superblock. It
// aligns a changed location.
func (l *layout) after(at, n uint64) uint64 {
	for g := at / groupBlocks; g <= (at+n-1)/groupBlocks; g++ {
		if end := g*groupBlocks + l.baseBlocks(g); at < end && at+n > g*groupBlocks {
			at = ceil(end, align) * align
		}
	}
	return at
}

// usedBy calls f with each run of metadata blocks in a group. It reports whether they include
// bitmaps or tables, of this group or of others.
func (l *layout) usedBy(group uint64, f func(first, n uint64)) (tables bool) {
	start := group * groupBlocks
	end := min(start+groupBlocks, l.blocks)
	if n := l.baseBlocks(group); n > 0 {
		f(start, n)
	}
	within := func(first, n uint64) {
		from, to := max(first, start), min(first+n, end)
		if from < to {
			f(from, to-from)
			tables = true
		}
	}
	first := group / flexGroups * flexGroups
	for _, p := range l.places[first:min(first+flexGroups, l.groups)] {
		within(p.blockBitmap, 1)
		within(p.inodeBitmap, 1)
		within(p.inodeTable, l.tableBlocks())
	}
	return tables
}

// journalBlocks returns the size of the journal that mke2fs chooses.
func journalBlocks(blocks uint64) uint64 {
	for _, s := range []struct{ less, journal uint64 }{
		{32 << 10, 1 << 10},
		{256 << 10, 4 << 10},
		{512 << 10, 8 << 10},
		{4 << 20, 16 << 10},
		{8 << 20, 32 << 10},
		{16 << 20, 64 << 10},
		{32 << 20, 128 << 10},
	} {
		if blocks < s.less {
			return s.journal
		}
	}
	return 256 << 10
}

// needed returns the size in bytes of a file system with that many free blocks and inodes.
func needed(free uint64, inodes int) (int64, int) {
	for blocks := free; ; {
		l := newLayout(blocks, inodes)
		switch {
		case l == nil:
			blocks += align * 64
		case l.free-l.journal-1 >= free && l.free > l.journal:
			return int64(blocks) * blockSize, inodes
		case l.free <= l.journal:
			blocks += l.journal - l.free + align
		default:
			blocks += free - (l.free - l.journal - 1)
		}
	}
}
