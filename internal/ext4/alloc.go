package ext4

import (
	"math/bits"
)

// extent is a run of consecutive blocks of a file; on disk, an ext4_extent of 12 bytes.
type extent struct {
	at    uint32 // the first block's index in the file
	count uint32 // at most maxExtent
	block uint64 // the first block's number on the device
}

const maxExtent = 32768

// appendExtent appends a run to data, extending the last extent if the run continues it.
func appendExtent(data []extent, at uint32, block, count uint64) []extent {
	if n := len(data); n > 0 {
		last := &data[n-1]
		if last.at+last.count == at && last.block+uint64(last.count) == block {
			more := min(count, uint64(maxExtent-last.count))
			last.count += uint32(more)
			at, block, count = at+uint32(more), block+more, count-more
		}
	}
	for count > 0 {
		n := min(count, maxExtent)
		data = append(data, extent{at, uint32(n), block})
		at, block, count = at+uint32(n), block+n, count-n
	}
	return data
}

func countBlocks(data []extent) (n uint64) {
	for _, e := range data {
		n += uint64(e.count)
	}
	return n
}

// blockAllocator hands out blocks in ascending order, and starts over only at the end of the
// device. Blocks that are written together are thus close together, and removed content stays on
// the device as long as possible.
type blockAllocator struct {
	lay    *layout
	groups []blockGroup
	free   uint64
	next   uint64 // where to search next
	high   uint64 // blocks from here on were never used and are zero
}

// blockGroup is the block bitmap of a group: a set bit is a block in use. Bits beyond the end of
// the file system are set.
type blockGroup struct {
	bits    *[groupBlocks / 64]uint64 // nil while only superblock and descriptors are in use
	free    uint32
	changed bool
}

func (a *blockAllocator) init(lay *layout) {
	if lay == nil {
		return
	}
	a.lay = lay
	a.groups = make([]blockGroup, lay.groups)
	for g := range lay.groups {
		var used uint64
		b := &a.groups[g]
		if lay.usedBy(g, func(_, n uint64) { used += n }) || g == lay.groups-1 {
			a.load(g)
		}
		b.free = uint32(min(groupBlocks, lay.blocks-g*groupBlocks) - used)
		a.free += uint64(b.free)
	}
}

// load creates the bitmap of a group on first use.
func (a *blockAllocator) load(g uint64) *blockGroup {
	b := &a.groups[g]
	if b.bits == nil {
		b.bits = new([groupBlocks / 64]uint64)
		b.changed = true
		a.lay.usedBy(g, func(first, n uint64) { b.set(first-g*groupBlocks, n, true) })
		if end := a.lay.blocks - g*groupBlocks; end < groupBlocks {
			b.set(end, groupBlocks-end, true)
		}
	}
	return b
}

func (b *blockGroup) set(first, n uint64, used bool) {
	for i := first; i < first+n; i++ {
		if used {
			b.bits[i/64] |= 1 << (i % 64)
		} else {
			b.bits[i/64] &^= 1 << (i % 64)
		}
	}
	b.changed = true
}

// scan returns the first bit, from at on, that is set (used) or clear, or groupBlocks if there is
// none.
func (b *blockGroup) scan(at uint64, used bool) uint64 {
	for at < groupBlocks {
		w := b.bits[at/64]
		if !used {
			w = ^w
		}
		if w >>= at % 64; w != 0 {
			return at + uint64(bits.TrailingZeros64(w))
		}
		at = (at/64 + 1) * 64
	}
	return groupBlocks
}

// take allocates up to n consecutive blocks; got is 0 if none is free.
func (a *blockAllocator) take(n uint64) (first, got uint64) {
	if a.free == 0 {
		return 0, 0
	}
	for {
		if a.next >= a.lay.blocks {
			a.next = 0
		}
		g := a.next / groupBlocks
		if a.groups[g].free == 0 {
			a.next = (g + 1) * groupBlocks
			continue
		}
		b := a.load(g)
		at := b.scan(a.next%groupBlocks, false)
		if at == groupBlocks {
			a.next = (g + 1) * groupBlocks
			continue
		}
		got = min(b.scan(at, true)-at, n)
		b.set(at, got, true)
		b.free -= uint32(got)
		a.free -= got
		first = g*groupBlocks + at
		a.next = first + got
		a.high = max(a.high, a.next)
		return first, got
	}
}

// release frees blocks, which may span several groups.
func (a *blockAllocator) release(first, n uint64) {
	for n > 0 {
		g := first / groupBlocks
		m := min(n, (g+1)*groupBlocks-first)
		b := a.load(g)
		b.set(first%groupBlocks, m, false)
		b.free += uint32(m)
		a.free += m
		first, n = first+m, n-m
	}
}

// take allocates up to n consecutive blocks, and reports whether they were never used before. When
// none is free, the file system is full, and the blocks returned are beyond its end.
func (fs *FS) take(n uint64) (first, got uint64, fresh bool) {
	if !fs.full {
		high := fs.blocks.high
		if first, got = fs.blocks.take(n); got > 0 {
			fs.use(got)
			return first, got, first >= high
		}
		fs.full = true
	}
	first = fs.beyond
	fs.beyond += n
	fs.use(n)
	return first, n, true
}

func (fs *FS) use(blocks uint64) {
	fs.used += blocks
	fs.peak = max(fs.peak, fs.used)
}

// allocate returns n blocks as the extents of a file.
func (fs *FS) allocate(n uint64) []extent {
	var data []extent
	for at := uint64(0); at < n; {
		first, got, _ := fs.take(n - at)
		data = appendExtent(data, uint32(at), first, got)
		at += got
	}
	return data
}

// release frees blocks.
func (fs *FS) release(first, n uint64) {
	fs.used -= n
	if fs.lay != nil && first < fs.lay.blocks {
		fs.blocks.release(first, n)
	}
}

func (fs *FS) releaseExtents(data []extent) {
	for _, e := range data {
		fs.release(e.block, uint64(e.count))
	}
}

// inodeAllocator hands out inodes. Directories and other files use separate chunks of 64 KiB of the
// inode table: a layer applied on top of others changes mostly inodes of directories.
type inodeAllocator struct {
	lay     *layout
	chunks  []*[chunk]*node // the inode n is number (n-1)%chunk of chunk (n-1)/chunk
	unused  uint32          // the first chunk without inodes in use
	dir     cursor
	other   cursor
	high    []uint32 // by group, the number of inodes before the first that was never used
	changed map[uint32]bool
	scan    uint32 // where to search next when no chunk is unused
	full    bool
}

type cursor struct{ next, end uint32 }

// Reserved inodes.
const (
	rootInode    = 2
	resizeInode  = 7
	journalInode = 8
	lostInode    = 11
	firstInode   = 11 // the first that is not reserved
)

func (a *inodeAllocator) init(lay *layout) {
	a.lay = lay
	a.changed = map[uint32]bool{}
	if lay != nil {
		a.chunks = make([]*[chunk]*node, lay.inodes()/chunk)
		a.high = make([]uint32, lay.groups)
		a.high[0] = firstInode
	}
	a.dir = cursor{firstInode, chunk}
	a.unused = 1
}

// get returns the node of an inode, nil if it is free or reserved.
func (a *inodeAllocator) get(ino uint32) *node {
	if c := a.chunks[(ino-1)/chunk]; c != nil {
		return c[(ino-1)%chunk]
	}
	return nil
}

func (a *inodeAllocator) set(ino uint32, n *node) {
	i := (ino - 1) / chunk
	for int(i) >= len(a.chunks) {
		a.chunks = append(a.chunks, nil)
	}
	if a.chunks[i] == nil {
		a.chunks[i] = new([chunk]*node)
	}
	a.chunks[i][(ino-1)%chunk] = n
	if a.lay != nil && uint64(ino) <= a.lay.inodes() {
		g := (ino - 1) / uint32(a.lay.inodesPerGroup)
		a.high[g] = max(a.high[g], ino-g*uint32(a.lay.inodesPerGroup))
		a.changed[g] = true
	}
}

// take allocates an inode. When none is free, it sets full and returns one beyond the end.
func (a *inodeAllocator) take(dir bool) uint32 {
	c := &a.other
	if dir {
		c = &a.dir
	}
	for {
		for ; c.next < c.end; c.next++ {
			if a.get(c.next+1) == nil {
				c.next++
				return c.next
			}
		}
		if int(a.unused) < len(a.chunks) {
			*c = cursor{a.unused * chunk, (a.unused + 1) * chunk}
			a.unused++
			continue
		}
		if ino := a.takeAny(); ino != 0 {
			return ino
		}
		a.full = true
		a.chunks = append(a.chunks, nil)
	}
}

// takeAny searches for an inode that was released.
func (a *inodeAllocator) takeAny() uint32 {
	if a.full || a.lay == nil {
		return 0
	}
	total := uint32(len(a.chunks) * chunk)
	for range total {
		if a.scan++; a.scan >= total {
			a.scan = firstInode
		}
		if a.scan >= firstInode && a.get(a.scan+1) == nil {
			return a.scan + 1
		}
	}
	return 0
}
