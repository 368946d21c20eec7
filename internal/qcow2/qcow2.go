// Package qcow2 writes disk images in QEMU's qcow2 format, version 3.
//
// An Image is a device of fixed size. It initially has the content of its backing image, or zeros; clusters of 64 KiB take
// space in the file once they are written to. Close completes the image and drops clusters that do not differ from the
// backing image; clusters of zeros become a mark.
//
// It guarantees that the same calls give the same bytes, and that qemu-img check finds no errors. A file whose Image was not
// closed is not a valid image. It cannot open existing images.
package qcow2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// ClusterSize is the size of a cluster, in bytes.
const ClusterSize = 64 << 10

// File is the empty file that an image is written to.
type File interface {
	io.ReaderAt
	io.WriterAt
	Truncate(size int64) error
}

// Options describe an image.
type Options struct {
	Size int64 // size of the device in bytes, a multiple of 512

	// Backing has the content of the backing image; nil means zeros. After its end it reads as zeros.
	Backing io.ReaderAt
	// BackingName is the path of the backing image, relative to the image or absolute, and BackingFormat is
	// "qcow2" or "raw".
	BackingName, BackingFormat string
}

// Image is an image being written. It is not safe for concurrent use.
//
// The file consists of the header, the data clusters in the order in which they were first written, and the tables: the
// level-1 table has the offsets of level-2 tables, each of which has those of 8,192 clusters; the refcount table and its
// blocks have a count for each cluster of the file, here always 1. All numbers are big-endian.
type Image struct {
	file File
	opt  Options
	// tables maps, for each level-2 table, a cluster of the image to a cluster of the file or a mark.
	tables []*[perTable]uint32
	owner  []uint32 // cluster of the image by cluster of the file; unused for the header
	a, b   []byte
	closed bool
}

const (
	perTable   = ClusterSize / 8
	perCounts  = ClusterSize / 2 // counts in a refcount block, 16 bits each
	none       = 0               // not in the file: cluster 0 is the header's
	zeroMark   = ^uint32(0)      // zeros, whatever the backing image has
	headerSize = 112
	copied     = 1 << 63 // flag of an entry: the count is 1
	isZeros    = 1       // flag of a level-2 entry: reads as zeros
)

var be = binary.BigEndian

// Create starts an image in an empty file.
func Create(file File, opt Options) (*Image, error) {
	switch {
	case opt.Size < 0 || opt.Size%512 != 0 || opt.Size > 1<<45:
		return nil, fmt.Errorf("qcow2: %d bytes: not a multiple of 512 up to 32 TiB", opt.Size)
	case (opt.Backing == nil) != (opt.BackingName == "") || (opt.BackingName == "") != (opt.BackingFormat == ""):
		return nil, errors.New("qcow2: a backing image needs a name and a format")
	case opt.BackingFormat != "" && opt.BackingFormat != "qcow2" && opt.BackingFormat != "raw":
		return nil, fmt.Errorf("qcow2: backing format %q is neither qcow2 nor raw", opt.BackingFormat)
	case len(opt.BackingName) > 1023:
		return nil, fmt.Errorf("qcow2: the name of the backing image has %d bytes, at most 1023 are possible", len(opt.BackingName))
	}
	clusters := ceil(opt.Size, ClusterSize)
	return &Image{
		file: file, opt: opt, tables: make([]*[perTable]uint32, ceil(clusters, perTable)),
		owner: make([]uint32, 1), a: make([]byte, ClusterSize), b: make([]byte, ClusterSize),
	}, nil
}

func ceil(a, b int64) int64 { return (a + b - 1) / b }

// Size returns the size of the device in bytes.
func (m *Image) Size() int64 { return m.opt.Size }

// Clusters returns how many clusters have data in the file. After Close, these are the ones that differ from the backing
// image and are not zeros.
func (m *Image) Clusters() int64 { return int64(len(m.owner)) - 1 }

// at returns the position of a cluster in the file, none or zeroMark.
func (m *Image) at(cluster int64) uint32 {
	if t := m.tables[cluster/perTable]; t != nil {
		return t[cluster%perTable]
	}
	return none
}

func (m *Image) set(cluster int64, at uint32) {
	t := &m.tables[cluster/perTable]
	if *t == nil {
		if at == none {
			return
		}
		*t = new([perTable]uint32)
	}
	(*t)[cluster%perTable] = at
}

// ReadAt implements io.ReaderAt. Clusters not in the image are read from its backing image, or are zeros.
func (m *Image) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("qcow2: read at %d", off)
	}
	var end error
	if int64(len(p)) > m.opt.Size-off {
		p, end = p[:max(m.opt.Size-off, 0)], io.EOF
	}
	for done := 0; done < len(p); {
		cluster, in := off/ClusterSize, off%ClusterSize
		part := p[done:min(len(p), done+int(ClusterSize-in))]
		if err := m.read(cluster, part, in); err != nil {
			return done, err
		}
		done += len(part)
		off += int64(len(part))
	}
	return len(p), end
}

// read reads part of a cluster.
func (m *Image) read(cluster int64, p []byte, in int64) error {
	switch at := m.at(cluster); at {
	case none:
		return m.readBelow(cluster, p, in)
	case zeroMark:
		clear(p)
		return nil
	default:
		return readAll(m.file, p, int64(at)*ClusterSize+in)
	}
}

func (m *Image) readBelow(cluster int64, p []byte, in int64) error {
	if m.opt.Backing == nil {
		clear(p)
		return nil
	}
	return readAll(m.opt.Backing, p, cluster*ClusterSize+in)
}

// readAll fills p, with zeros after EOF.
func readAll(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if err != nil && err != io.EOF {
		return fmt.Errorf("qcow2: read %d bytes at %d: %w", len(p), off, err)
	}
	clear(p[n:])
	return nil
}

// empty reports whether a cluster is known to be zeros in the backing image.
func (m *Image) empty(cluster int64) bool {
	if m.opt.Backing == nil {
		return true
	}
	below, ok := m.opt.Backing.(*Image)
	if !ok {
		return false
	}
	if cluster >= ceil(below.opt.Size, ClusterSize) {
		return true
	}
	switch below.at(cluster) {
	case none:
		return below.empty(cluster)
	case zeroMark:
		return true
	default:
		return false
	}
}

// WriteAt implements io.WriterAt.
func (m *Image) WriteAt(p []byte, off int64) (int, error) {
	if m.closed || off < 0 || off+int64(len(p)) > m.opt.Size {
		return 0, fmt.Errorf("qcow2: write %d bytes at %d of an image of %d bytes, closed: %v", len(p), off, m.opt.Size, m.closed)
	}
	for done := 0; done < len(p); {
		cluster, in := off/ClusterSize, off%ClusterSize
		part := p[done:min(len(p), done+int(ClusterSize-in))]
		if err := m.writePart(cluster, part, in); err != nil {
			return done, err
		}
		done += len(part)
		off += int64(len(part))
	}
	return len(p), nil
}

// writePart writes part of a cluster. A cluster new to the file is written whole, unless the rest is zeros, which the file
// already has.
func (m *Image) writePart(cluster int64, p []byte, in int64) error {
	at := m.at(cluster)
	if at == none {
		if len(p) < ClusterSize && !m.empty(cluster) {
			if err := m.readBelow(cluster, m.a, 0); err != nil {
				return err
			}
			copy(m.a[in:], p)
			p, in = m.a, 0
		}
		at = m.add(cluster)
	}
	return m.write(p, at, in)
}

// add allocates a cluster of the file.
func (m *Image) add(cluster int64) uint32 {
	at := uint32(len(m.owner))
	m.owner = append(m.owner, uint32(cluster))
	m.set(cluster, at)
	return at
}

func (m *Image) write(p []byte, at uint32, in int64) error {
	if _, err := m.file.WriteAt(p, int64(at)*ClusterSize+in); err != nil {
		return fmt.Errorf("qcow2: %w", err)
	}
	return nil
}

// Close drops clusters equal to the backing image, and writes the tables and the header. It does not close the file: the
// Image can still be read, and can be the backing image of another one.
func (m *Image) Close() error {
	if m.closed {
		return nil
	}
	if err := m.compact(); err != nil {
		return err
	}
	m.closed = true
	return m.writeTables()
}

// compact drops the clusters that equal the backing image, and those of zeros. Clusters from the end of the file are moved
// into their places.
func (m *Image) compact() error {
	for at := uint32(1); int(at) < len(m.owner); {
		cluster := int64(m.owner[at])
		keep, mark, err := m.differs(cluster, at)
		if err != nil {
			return err
		}
		if keep {
			at++
			continue
		}
		m.set(cluster, mark)
		last := uint32(len(m.owner) - 1)
		if at != last {
			if err := readAll(m.file, m.a, int64(last)*ClusterSize); err != nil {
				return err
			}
			if err := m.write(m.a, at, 0); err != nil {
				return err
			}
			m.owner[at] = m.owner[last]
			m.set(int64(m.owner[at]), at)
		}
		m.owner = m.owner[:last]
	}
	return nil
}

// differs reports whether the content of a cluster must stay in the file, or else its mark.
func (m *Image) differs(cluster int64, at uint32) (keep bool, mark uint32, err error) {
	const part = 4 << 10 // usually enough to see that it is not all zeros
	empty := m.empty(cluster)
	zeros, same := true, !empty
	for in := int64(0); in < ClusterSize && (zeros || same); in += part {
		a, b := m.a[:part], m.b[:part]
		if err := readAll(m.file, a, int64(at)*ClusterSize+in); err != nil {
			return false, 0, err
		}
		if same {
			if err := m.readBelow(cluster, b, in); err != nil {
				return false, 0, err
			}
			same = bytes.Equal(a, b)
		}
		zeros = zeros && isZero(a)
	}
	switch {
	case same || zeros && empty:
		return false, none, nil
	case zeros:
		return false, zeroMark, nil
	default:
		return true, 0, nil
	}
}

func isZero(p []byte) bool { return len(p) == 0 || p[0] == 0 && bytes.Equal(p[1:], p[:len(p)-1]) }

// writeTables writes the tables and then the header.
func (m *Image) writeTables() error {
	next := int64(len(m.owner))
	if err := m.file.Truncate(next * ClusterSize); err != nil {
		return fmt.Errorf("qcow2: %w", err)
	}
	place := func(clusters int64) int64 {
		next += clusters
		return next - clusters
	}
	l1 := make([]byte, 8*max(len(m.tables), 1))
	for i, t := range m.tables {
		if t == nil || *t == ([perTable]uint32{}) {
			continue
		}
		p := make([]byte, ClusterSize)
		for j, at := range t {
			switch at {
			case none:
			case zeroMark:
				be.PutUint64(p[8*j:], isZeros)
			default:
				be.PutUint64(p[8*j:], uint64(at)*ClusterSize|copied)
			}
		}
		at := place(1)
		be.PutUint64(l1[8*i:], uint64(at)*ClusterSize|copied)
		if err := m.write(p, uint32(at), 0); err != nil {
			return err
		}
	}
	l1At := place(ceil(int64(len(l1)), ClusterSize))
	if err := m.writeWhole(l1, l1At); err != nil {
		return err
	}
	// The refcount blocks and table count themselves.
	blocks, tableSize := int64(1), int64(1)
	for {
		all := next + blocks + tableSize
		b := ceil(all, perCounts)
		s := ceil(b, perTable)
		if b == blocks && s == tableSize {
			break
		}
		blocks, tableSize = b, s
	}
	tableAt, blocksAt := place(tableSize), place(blocks)
	table := make([]byte, tableSize*ClusterSize)
	counts := make([]byte, blocks*ClusterSize)
	for i := range blocks {
		be.PutUint64(table[8*i:], uint64(blocksAt+i)*ClusterSize)
	}
	for i := range next {
		be.PutUint16(counts[2*i:], 1)
	}
	if err := m.writeWhole(table, tableAt); err != nil {
		return err
	}
	if err := m.writeWhole(counts, blocksAt); err != nil {
		return err
	}
	return m.write(m.header(l1At, len(l1)/8, tableAt, tableSize), 0, 0)
}

// writeWhole writes p, padded to whole clusters.
func (m *Image) writeWhole(p []byte, at int64) error {
	whole := make([]byte, ceil(int64(len(p)), ClusterSize)*ClusterSize)
	copy(whole, p)
	return m.write(whole, uint32(at), 0)
}

// header returns the first cluster: the header, its extension with the format of the backing image, and the name of the
// backing image.
func (m *Image) header(l1At int64, l1Size int, countsAt, countsSize int64) []byte {
	p := make([]byte, ClusterSize)
	copy(p, "QFI\xfb")
	be.PutUint32(p[4:], 3)
	be.PutUint32(p[20:], 16) // cluster_bits: 64 KiB
	be.PutUint64(p[24:], uint64(m.opt.Size))
	be.PutUint32(p[36:], uint32(l1Size))
	be.PutUint64(p[40:], uint64(l1At*ClusterSize))
	be.PutUint64(p[48:], uint64(countsAt*ClusterSize))
	be.PutUint32(p[56:], uint32(countsSize))
	be.PutUint32(p[96:], 4) // refcount_order: 16 bits
	be.PutUint32(p[100:], headerSize)
	at := headerSize
	if f := m.opt.BackingFormat; f != "" {
		be.PutUint32(p[at:], 0xE2792ACA)
		be.PutUint32(p[at+4:], uint32(len(f)))
		copy(p[at+8:], f)
		at += 8 + (len(f)+7)&^7
	}
	at += 8 // extension of type 0: end of extensions
	if name := m.opt.BackingName; name != "" {
		be.PutUint64(p[8:], uint64(at))
		be.PutUint32(p[16:], uint32(len(name)))
		copy(p[at:], name)
	}
	return p
}
