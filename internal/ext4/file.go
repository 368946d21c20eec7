package ext4

import (
	"bytes"
	"errors"
	"io"
	"math"
	"slices"
)

// File is a regular file that is being written. No other file can be created before Close.
type File struct {
	fs     *FS
	in     *node // the directory that it is created in
	base   string
	name   string
	sparse bool
	at     int64 // bytes so far
	data   []extent
	tail   []byte // data short of a whole block
	filled bool   // Write added to it

	old     *node // the file it replaces, whose inode it gets
	oldNext int   // index of the first extent of old that was not passed
	buf     []byte
}

// Create creates a regular file, which has its name after Close. In a sparse file, blocks of zeros
// become holes; other files have holes only where Skip made them.
//
// A file that replaces another one keeps the blocks that are equal.
func (fs *FS) Create(name string, sparse bool) (*File, error) {
	in, base, err := fs.forLeaf(name)
	if err != nil {
		return nil, fail("create", name, err)
	}
	f := &File{fs: fs, in: in, base: base, name: name, sparse: sparse}
	if old := reusable(in, base); old != nil && old.mode&typeMask == typeFile {
		f.old = old
	}
	return f, nil
}

// Write appends p to the file.
func (f *File) Write(p []byte) (int, error) {
	if err := f.mayGrow(int64(len(p))); err != nil {
		return 0, err
	}
	for rest := p; len(rest) > 0; {
		n := len(rest) &^ (blockSize - 1)
		if len(f.tail) == 0 && n > 0 {
			if err := f.blocks(rest[:n]); err != nil {
				return len(p) - len(rest), err
			}
		} else {
			n = min(len(rest), blockSize-len(f.tail))
			f.tail = append(f.tail, rest[:n]...)
			f.filled = true
			f.at += int64(n)
			if err := f.flush(blockSize); err != nil {
				return len(p) - len(rest), err
			}
		}
		rest = rest[n:]
	}
	return len(p), nil
}

// Skip appends n zero bytes. Whole blocks of them take no space.
func (f *File) Skip(n int64) error {
	if err := f.mayGrow(n); err != nil {
		return err
	}
	if rest := int64(len(f.tail)); rest > 0 {
		m := min(n, blockSize-rest)
		f.tail = append(f.tail, zeros[:m]...)
		f.at += m
		n -= m
		if err := f.flush(blockSize); err != nil {
			return err
		}
	}
	f.at += n
	if len(f.tail) == 0 {
		f.tail = append(f.tail, zeros[:f.at%blockSize]...)
	}
	return nil
}

func (f *File) mayGrow(n int64) error {
	if n < 0 || f.at+n > math.MaxUint32*blockSize {
		return fail("write", f.name, ErrTooLarge)
	}
	return nil
}

// flush writes the tail if it has at least size bytes.
func (f *File) flush(size int) error {
	if len(f.tail) < max(size, 1) {
		return nil
	}
	from := f.at - int64(len(f.tail))
	hole := (f.sparse || !f.filled) && isZero(f.tail)
	block := append(f.tail, zeros[len(f.tail):]...)
	f.tail, f.filled = f.tail[:0], false
	if hole {
		return nil
	}
	return f.put(uint32(from/blockSize), block)
}

// blocks appends whole blocks.
func (f *File) blocks(p []byte) error {
	for len(p) > 0 {
		n, zero := len(p), false
		if f.sparse {
			n, zero = run(p)
		}
		if !zero {
			if err := f.put(uint32(f.at/blockSize), p[:n]); err != nil {
				return err
			}
		}
		f.at += int64(n)
		p = p[n:]
	}
	return nil
}

// run returns the length of the prefix of p whose blocks are all zero, or all not.
func run(p []byte) (n int, zero bool) {
	zero = isZero(p[:blockSize])
	for n = blockSize; n < len(p) && isZero(p[n:n+blockSize]) == zero; {
		n += blockSize
	}
	return n, zero
}

var zeros [blockSize]byte

func isZero(p []byte) bool { return bytes.Equal(p, zeros[:len(p)]) }

// put writes blocks at an index of the file, except those that are equal in the old file, which are
// kept.
func (f *File) put(at uint32, p []byte) error {
	if err := f.fs.dev.err; err != nil {
		return fail("write", f.name, err)
	}
	for len(p) > 0 {
		n, old, err := f.sameAsOld(at, p)
		if err != nil {
			return fail("write", f.name, err)
		}
		if old != 0 {
			f.data = appendExtent(f.data, at, old, uint64(n))
		} else {
			f.write(at, p[:n*blockSize])
		}
		at += uint32(n)
		p = p[n*blockSize:]
	}
	return nil
}

// sameAsOld returns the number of blocks that equal those of the old file, and the first one's
// number there; if there are none, it returns how many differ.
func (f *File) sameAsOld(at uint32, p []byte) (n int, old uint64, err error) {
	all := len(p) / blockSize
	if f.old == nil || f.fs.full {
		return all, 0, nil
	}
	for f.oldNext < len(f.old.data) && f.old.data[f.oldNext].at+f.old.data[f.oldNext].count <= at {
		f.oldNext++
	}
	if f.oldNext == len(f.old.data) {
		return all, 0, nil
	}
	e := f.old.data[f.oldNext]
	if e.at > at {
		return min(all, int(e.at-at)), 0, nil
	}
	skip := at - e.at
	all = min(all, int(e.count-skip))
	if cap(f.buf) < all*blockSize {
		f.buf = make([]byte, all*blockSize)
	}
	buf := f.buf[:all*blockSize]
	old = e.block + uint64(skip)
	if err := f.fs.dev.read(int64(old)*blockSize, buf); err != nil {
		return 0, 0, err
	}
	same := func(i int) bool {
		return bytes.Equal(p[i*blockSize:][:blockSize], buf[i*blockSize:][:blockSize])
	}
	first := same(0)
	for n = 1; n < all && same(n) == first; {
		n++
	}
	if !first {
		old = 0
	}
	return n, old, nil
}

// write writes blocks to newly allocated space.
func (f *File) write(at uint32, p []byte) {
	for len(p) > 0 {
		first, got, fresh := f.fs.take(uint64(len(p) / blockSize))
		f.data = appendExtent(f.data, at, first, got)
		n := int(got) * blockSize
		f.fs.writeSparse(first, p[:n], fresh)
		at += uint32(got)
		p = p[n:]
	}
}

// writeSparse omits blocks of zeros where the device is zero.
func (fs *FS) writeSparse(block uint64, p []byte, fresh bool) {
	for len(p) > 0 && !fs.full {
		n, zero := len(p), false
		if fresh {
			n, zero = run(p)
		}
		if !zero {
			fs.write(block, p[:n])
		}
		block += uint64(n / blockSize)
		p = p[n:]
	}
}

// Close sets the metadata of the file and adds its name.
func (f *File) Close(m Meta) error {
	if err := f.flush(1); err != nil {
		f.Abort()
		return err
	}
	n := f.old
	if n == nil {
		n = f.fs.leaf(f.in, f.base, typeFile)
	} else {
		f.releaseOld()
		f.fs.enterLeaf(f.in, f.base, n, typeFile)
	}
	if !slices.Equal(n.data, f.data) {
		n.data, n.dataChanged = f.data, true
	}
	n.size = f.at
	if err := f.fs.setMeta(n, m); err != nil {
		return fail("file", f.name, err)
	}
	return nil
}

// releaseOld frees the blocks of the old file that are not kept.
func (f *File) releaseOld() {
	kept := f.data
	for _, e := range f.old.data {
		for i := range uint64(e.count) {
			at := e.at + uint32(i)
			for len(kept) > 0 && kept[0].at+kept[0].count <= at {
				kept = kept[1:]
			}
			if len(kept) == 0 || at < kept[0].at || kept[0].block+uint64(at-kept[0].at) != e.block+i {
				f.fs.release(e.block+i, 1)
			}
		}
	}
}

// Abort discards the file, after a failure. A file that it was to replace stays.
func (f *File) Abort() {
	for _, e := range f.data {
		for i := range uint64(e.count) {
			if f.old == nil || !f.old.has(e.at+uint32(i), e.block+i) {
				f.fs.release(e.block+i, 1)
			}
		}
	}
	f.data = nil
}

// has reports whether the file has this block at the index at.
func (n *node) has(at uint32, block uint64) bool {
	for _, e := range n.data {
		if at >= e.at && at < e.at+e.count {
			return block == e.block+uint64(at-e.at)
		}
	}
	return false
}

// Open returns the content of a regular file. It can be read until the file is changed.
func (fs *FS) Open(name string) (*io.SectionReader, error) {
	n, err := fs.find(name)
	switch {
	case err != nil:
	case n.mode&typeMask != typeFile:
		err = errors.New("not a regular file")
	case fs.full:
		err = errors.New("the file system is full: its files are not written")
	}
	if err != nil {
		return nil, fail("open", name, err)
	}
	return io.NewSectionReader(content{fs, n.data, n.size}, 0, n.size), nil
}

// content reads the blocks of a list of extents.
type content struct {
	fs   *FS
	data []extent
	size int64
}

func (c content) ReadAt(p []byte, at int64) (int, error) {
	if at >= c.size {
		return 0, io.EOF
	}
	var end error
	if int64(len(p)) > c.size-at {
		p, end = p[:c.size-at], io.EOF
	}
	clear(p)
	for _, e := range c.data {
		from := int64(e.at) * blockSize
		first, last := max(at, from), min(at+int64(len(p)), from+int64(e.count)*blockSize)
		if first >= last {
			continue
		}
		if err := c.fs.dev.read(int64(e.block)*blockSize+first-from, p[first-at:last-at]); err != nil {
			return 0, err
		}
	}
	return len(p), end
}
