// Package ext4 writes ext4 file systems without a kernel, a mount or root.
//
// An FS is a file system in memory that is written to a Device. Files are written once, straight to
// their blocks; directories, inodes and bitmaps stay in memory until Sync, which makes the device a
// complete, clean file system. After Sync the tree can be changed and synced again: only
// differences are written, with new blocks close together, so that few clusters of the device
// change. Chains of disk images are made this way, see the examples.
//
// Guarantees: the same calls produce the same bytes, independent of time and chance; e2fsck reports
// no errors; the file system is an ordinary one, as made by mke2fs: 4 KiB blocks, extents,
// checksums of all metadata, hashed directories, a journal, room to grow with resize2fs, all free
// space usable. Limits: it does not read file systems that it did not write, and a device is not
// valid before Sync.
//
// # Format
//
// Each type documents its format on disk. The features are those of mke2fs -t ext4: has_journal,
// ext_attr, resize_inode, dir_index, filetype, extent, 64bit, flex_bg, sparse_super, large_file,
// huge_file, dir_nlink, extra_isize and metadata_csum, and ea_inode once an attribute is larger
// than a block. Numbers are little-endian, except for those of the journal, which are big-endian.
package ext4

import (
	"cmp"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"slices"
	"time"
)

// Units of the format. mke2fs uses the same ones for all but tiny devices.
const (
	blockSize   = 4096
	groupBlocks = 8 * blockSize // blocks of a group: the bits in one block
	inodeSize   = 256
	flexGroups  = 16  // groups with their bitmaps and inode tables together
	chunk       = 256 // inodes in 64 KiB of an inode table
)

// Device is the storage that a file system is written to. Initially it must be all zeros.
type Device interface {
	io.ReaderAt
	io.WriterAt
}

// Options describe a file system. Values that other tools choose at random are set by the caller.
type Options struct {
	Size     int64     // in bytes, rounded down to whole blocks
	Inodes   int       // the least number of inodes; there is at least one for each 16 KiB
	UUID     [16]byte  // of the file system and its journal
	HashSeed [16]byte  // seed of the hashes in large directories
	Time     time.Time // creation time, change time of each inode, and default for other times
	Label    string    // at most 16 bytes
}

// Errors that callers distinguish.
var (
	// ErrNotDir means that a parent of the path is not a directory.
	ErrNotDir = errors.New("not a directory")
	// ErrIsDir means that the path is a directory, and another type of file was to be created.
	ErrIsDir = errors.New("is a directory")
	// ErrName means that the name is not clean, not below the root, or has a component of more than
	// 255 bytes.
	ErrName = errors.New("not a clean name below the root with components of at most 255 bytes")
	// ErrLinks means that the file has 65,000 names, or the directory more entries than the format
	// allows.
	ErrLinks = errors.New("too many links")
	// ErrTooLarge means that a file has 16 TiB or more.
	ErrTooLarge = errors.New("larger than a file of ext4 can be")
)

// FullError is returned if the file system is too small.
type FullError struct {
	Size, Needed         int64 // in bytes: the actual size, and a sufficient one
	Inodes, NeededInodes int   // likewise, for Options.Inodes
}

func (e *FullError) Error() string {
	if e.NeededInodes > e.Inodes {
		return fmt.Sprintf("the file system of %d bytes is full: %d bytes are needed, with %d inodes in place of %d", e.Size, e.Needed, e.NeededInodes, e.Inodes)
	}
	return fmt.Sprintf("the file system of %d bytes is full: %d bytes are needed", e.Size, e.Needed)
}

// FS is a file system that is being written. Names are relative to its root, separated by slashes
// and clean; the root itself is ".". Names are byte strings without an encoding.
//
// When it is full, it stops writing but continues to count, and each Sync returns a *FullError. The
// space needed is known only after all files were added.
//
// An FS must not be used concurrently. After an error of the device it cannot be used any more.
type FS struct {
	opt  Options
	dev  writer
	lay  *layout // nil when it only measures
	time timestamp
	seed uint32 // of checksums, derived from the UUID

	full      bool   // nothing is written any more, and allocations are beyond the end
	beyond    uint64 // the next block beyond the end
	used      uint64 // blocks of content, directories and other data that grows
	peak      uint64 // maximum of used
	nodes     int    // inodes in use, without the reserved ones
	peakNodes int

	blocks blockAllocator
	inodes inodeAllocator

	root    *node
	lost    *node // lost+found
	journal *node
	changed []*node // nodes whose inode must be written
	removed []*node // nodes without a name, not released yet
	dirs    []*node // directories with changed entries
	eaInode bool    // an attribute has an inode of its own

	resizeBlock  uint64
	super, gdt   []byte // as on the device
	initialWrite bool
}

// New creates an empty file system on a device that is all zeros. It writes nothing before the
// first call that adds content.
func New(dev Device, opt Options) (*FS, error) {
	if len(opt.Label) > 16 {
		return nil, fmt.Errorf("label %q: %d bytes, at most 16 are possible", opt.Label, len(opt.Label))
	}
	if opt.Size/blockSize >= math.MaxUint32 {
		return nil, fmt.Errorf("a file system of %d bytes: must be less than 16 TiB", opt.Size)
	}
	lay := newLayout(uint64(opt.Size/blockSize), opt.Inodes)
	if lay == nil || lay.free <= lay.journal {
		need, _ := needed(minimal, opt.Inodes)
		return nil, &FullError{Size: opt.Size, Needed: need, Inodes: opt.Inodes, NeededInodes: opt.Inodes}
	}
	return newFS(dev, opt, lay), nil
}

// minimal is the number of free blocks in an empty file system, enough for a first directory.
const minimal = 16

// Measure returns a file system of unlimited size that is not written anywhere. It supports all
// calls except those that read content; Needed then returns the size of the device required.
func Measure() *FS { return newFS(nil, Options{}, nil) }

func newFS(dev Device, opt Options, lay *layout) *FS {
	fs := &FS{
		opt: opt, lay: lay, dev: writer{dev: dev}, full: lay == nil,
		time: newTimestamp(opt.Time), seed: crc(math.MaxUint32, opt.UUID[:]),
		initialWrite: true,
	}
	fs.blocks.init(lay)
	fs.inodes.init(lay)
	if lay != nil {
		fs.beyond = lay.blocks
	}
	fs.journal = &node{ino: journalInode, mode: typeFile | 0o600, links: 1, mtime: fs.time}
	fs.inodes.set(journalInode, fs.journal)
	fs.touch(fs.journal)
	if lay != nil {
		fs.journal.size = int64(lay.journal) * blockSize
		fs.journal.data, fs.journal.dataChanged = fs.allocate(lay.journal), true
		if lay.reservedGDT > 0 {
			fs.resizeBlock = fs.allocate(1)[0].block
			resize := &node{ino: resizeInode, mode: typeFile | 0o600, links: 1, mtime: fs.time}
			fs.inodes.set(resizeInode, resize)
			fs.touch(resize)
		}
		fs.used, fs.peak = 0, 0 // the blocks of the layout are not content
	}
	fs.root = fs.newDir(nil, rootInode)
	fs.root.dir.parent = fs.root
	fs.lost = fs.newDir(fs.root, lostInode)
	fs.lost.mode = typeDir | 0o700
	fs.enter(fs.root, lostFound, fs.lost)
	fs.nodes, fs.peakNodes = 0, 0
	return fs
}

// lostFound is the directory for files that e2fsck finds without a name. It cannot be removed, and
// has blocks for many entries from the start.
const (
	lostFound  = "lost+found"
	lostBlocks = 4
)

// SetDevice switches to another device with the same content, such as an image backed by the
// previous one. Call it after Sync.
func (fs *FS) SetDevice(dev Device) { fs.dev = writer{dev: dev} }

// Needed returns the size in bytes and the number of inodes that suffice for the calls up to the
// last Sync. It may be slightly more than the minimum.
func (fs *FS) Needed() (size int64, inodes int) {
	// Some blocks are lost where files are split: at the metadata within the groups, and when freed
	// blocks are reused.
	return needed(fs.peak+fs.peak/256+minimal, fs.peakNodes)
}

// Sync writes all changes. The device is then a complete file system, and the space of removed
// files is free again.
func (fs *FS) Sync() error {
	fs.releaseRemoved()
	slices.SortFunc(fs.dirs, byInode)
	for _, n := range fs.dirs {
		n.dir.listed = false
		if n.released {
			continue
		}
		if err := fs.writeDir(n); err != nil {
			return err
		}
	}
	fs.dirs = fs.dirs[:0]
	slices.SortFunc(fs.changed, byInode)
	for _, n := range fs.changed {
		fs.writeBlocksOf(n)
	}
	if fs.full {
		fs.forgetChanges()
		if fs.lay == nil {
			return nil
		}
		e := &FullError{Size: fs.opt.Size, Inodes: int(fs.lay.inodes()) - firstInode}
		e.Needed, e.NeededInodes = fs.Needed()
		return e
	}
	fs.writeInodes()
	fs.forgetChanges()
	fs.writeGroups()
	fs.initialWrite = false
	return fs.dev.flush()
}

func byInode(a, b *node) int { return cmp.Compare(a.ino, b.ino) }

// touch records that a node must be written.
func (fs *FS) touch(n *node) {
	if !n.changed {
		n.changed = true
		fs.changed = append(fs.changed, n)
	}
}

func (fs *FS) forgetChanges() {
	for _, n := range fs.changed {
		n.changed = false
	}
	fs.changed = fs.changed[:0]
}

// write writes whole blocks, unless the file system is full. Errors are returned by the next Sync
// or read.
func (fs *FS) write(block uint64, p []byte) {
	if !fs.full {
		fs.dev.write(int64(block)*blockSize, p)
	}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// crc updates a checksum without the usual inversions, as ext4 does.
func crc(sum uint32, p []byte) uint32 { return ^crc32.Update(^sum, castagnoli, p) }

// writer combines consecutive writes.
type writer struct {
	dev Device
	at  int64
	buf []byte
	err error
}

const gathered = 1 << 20

func (w *writer) write(at int64, p []byte) {
	if at != w.at+int64(len(w.buf)) || len(w.buf)+len(p) > gathered {
		_ = w.flush()
	}
	if len(w.buf) == 0 {
		w.at = at
		if len(p) >= gathered/4 {
			w.put(at, p)
			return
		}
	}
	w.buf = append(w.buf, p...)
}

func (w *writer) put(at int64, p []byte) {
	if w.err != nil {
		return
	}
	if _, err := w.dev.WriteAt(p, at); err != nil {
		w.err = fmt.Errorf("write %d bytes at %d of the file system: %w", len(p), at, err)
	}
}

// flush writes the buffered data, and returns the first error of any write.
func (w *writer) flush() error {
	if len(w.buf) > 0 {
		w.put(w.at, w.buf)
		w.buf = w.buf[:0]
	}
	return w.err
}

func (w *writer) read(at int64, p []byte) error {
	if err := w.flush(); err != nil {
		return err
	}
	n, err := w.dev.ReadAt(p, at)
	if n == len(p) {
		return nil
	}
	if err != io.EOF {
		return fmt.Errorf("read %d bytes at %d of the file system: %w", len(p), at, err)
	}
	clear(p[n:]) // beyond the current end of the device
	return nil
}
