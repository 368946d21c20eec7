// Package ext4 writes ext4 file systems without a kernel, a mount or root.
//
// An FS is a file system in memory that is written to a Device. Files are written once,
// straight to their blocks; directories, inodes and bitmaps stay in memory until Sync,
// which makes the device a complete, clean file system. After Sync the tree can be changed
// and synced again: then only what differs is written, and what is new is close
// together, so that the device differs in few places. A chain of images is made so, see
// the examples.
//
// What it promises: the same calls give the same bytes, nothing depends on the time or on
// chance; e2fsck finds nothing; the file system is an ordinary one, as mke2fs makes it:
// 4 KiB blocks, extents, checksums of all metadata, hashed directories, a journal, room to
// grow with resize2fs, all free space usable. What it does not: it reads no file system
// that it did not write, and an image is nothing before Sync.
//
// # Format
//
// Each type documents what it is on the disk. The features are those of mke2fs -t ext4:
// has_journal, ext_attr, resize_inode, dir_index, filetype, extent, 64bit, flex_bg,
// sparse_super, large_file, huge_file, dir_nlink, extra_isize and metadata_csum, with
// ea_inode once an attribute is larger than a block. All numbers are little-endian, those
// of the journal big-endian.
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

// The units of the format, fixed here: mke2fs has the same ones for all but tiny devices.
const (
	blockSize   = 4096
	groupBlocks = 8 * blockSize // blocks of a group: what one block of bits can say
	inodeSize   = 256
	flexGroups  = 16  // groups whose bitmaps and inode tables are together
	chunk       = 256 // inodes of 64 KiB of an inode table
)

// Device is where a file system is written to. It is all zeros at first.
type Device interface {
	io.ReaderAt
	io.WriterAt
}

// Options describe a file system. What is random in other tools is given by the caller.
type Options struct {
	Size     int64     // in bytes; a rest smaller than a block stays unused
	Inodes   int       // as many can be made at least; there is one for each 16 KiB in any case
	UUID     [16]byte  // of the file system and its journal
	HashSeed [16]byte  // of the hashes in large directories
	Time     time.Time // of creation, of change of each inode, and where there is no other
	Label    string    // at most 16 bytes
}

// The errors that callers tell apart.
var (
	// ErrNotDir: a directory is needed where the tree has something else.
	ErrNotDir = errors.New("not a directory")
	// ErrIsDir: the tree has a directory where something else is to be made.
	ErrIsDir = errors.New("is a directory")
	// ErrName: the name is not clean, not below the root, or has a component of more than 255 bytes.
	ErrName = errors.New("not a clean name below the root with components of at most 255 bytes")
	// ErrLinks: the file has 65,000 names, or the directory more entries than the format holds.
	ErrLinks = errors.New("too many links")
	// ErrTooLarge: a file has 16 TiB or more.
	ErrTooLarge = errors.New("larger than a file of ext4 can be")
)

// FullError is the error of a file system that is too small.
type FullError struct {
	Size, Needed         int64 // bytes: what it has, and what suffices for all it was given
	Inodes, NeededInodes int   // likewise, for Options.Inodes
}

func (e *FullError) Error() string {
	if e.NeededInodes > e.Inodes {
		return fmt.Sprintf("the file system of %d bytes is full: %d bytes are needed, with %d inodes in place of %d", e.Size, e.Needed, e.NeededInodes, e.Inodes)
	}
	return fmt.Sprintf("the file system of %d bytes is full: %d bytes are needed", e.Size, e.Needed)
}

// FS is a file system that is being written. Names are relative to its root, separated by
// slashes and clean; the root itself is ".". Names are bytes, in no encoding.
//
// When it is full, it continues to count, writes no more, and each Sync returns a *FullError:
// only when all was given is it known what is needed.
//
// An FS is for one goroutine at a time. After an error of the device it is of no use.
type FS struct {
	opt  Options
	dev  writer
	lay  *layout // nil when it only measures
	time timestamp
	seed uint32 // what checksums begin with: that of the UUID

	full      bool   // nothing is written any more, and what is allocated is beyond the end
	beyond    uint64 // the next such block
	used      uint64 // blocks of content, directories and other things that grow
	peak      uint64 // the most there were
	nodes     int    // inodes that are in use, without the reserved ones
	peakNodes int

	blocks blockAllocator
	inodes inodeAllocator

	root    *node
	lost    *node // lost+found
	journal *node
	changed []*node // nodes that are not written as they are
	removed []*node // nodes that no name leads to any more, not released yet
	dirs    []*node // directories with changed entries
	eaInode bool    // an attribute is in an inode of its own

	resizeBlock  uint64
	super, gdt   []byte // as they are on the device
	initialWrite bool
}

// New begins an empty file system on a device that is all zeros. It writes nothing yet.
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

// minimal is how many blocks an empty file system has room for: a first directory.
const minimal = 16

// Measure returns a file system without end that is not written anywhere. It takes the same
// calls, except for reading, and then Needed tells what a device for them must have.
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

// lostFound is where e2fsck puts what it finds without a name. It cannot be removed, and has
// room for many names from the start.
const (
	lostFound  = "lost+found"
	lostBlocks = 4
)

// SetDevice continues on another device of the same content, such as an image that is backed
// by that written before. Call it after Sync.
func (fs *FS) SetDevice(dev Device) { fs.dev = writer{dev: dev} }

// Needed returns the size in bytes and the inodes that suffice for the same calls up to the
// last Sync. It may be a little more than the least possible.
func (fs *FS) Needed() (size int64, inodes int) {
	// Blocks are lost where files are split: at the metadata within the groups, and when
	// what was removed is used again.
	return needed(fs.peak+fs.peak/256+minimal, fs.peakNodes)
}

// Sync writes all that changed, so that the device is a complete file system, and the space
// of what was removed is free again.
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

// touch takes note that a node must be written.
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

// write writes whole blocks, unless the file system is full. Errors are returned by Sync, or
// by what reads.
func (fs *FS) write(block uint64, p []byte) {
	if !fs.full {
		fs.dev.write(int64(block)*blockSize, p)
	}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// crc continues a checksum as the format has it: without the usual inversions.
func crc(sum uint32, p []byte) uint32 { return ^crc32.Update(^sum, castagnoli, p) }

// writer gathers writes of what follows on each other.
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

// flush writes what was gathered, and returns the first error there was.
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
	clear(p[n:]) // the device is shorter so far
	return nil
}
