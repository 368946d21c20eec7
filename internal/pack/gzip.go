package pack

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/klauspost/compress/flate"
)

const (
	gzipBlock = 1 << 20

	// piece is after how many bytes deflate gets new Huffman codes. Programs, text and
	// pictures follow each other closely in a layer: codes that fit each of them save
	// more than their own size.
	piece = 32 << 10

	// The default: a fast level, and for blocks that look hard to compress one that finds
	// more in them. Where the sample, from the middle of the block, keeps more than hard of
	// 100 bytes at the fastest level, the block counts as hard. Of what was measured (how
	// many values differ, what two fast levels make of it, more and larger samples) nothing
	// says better where work is worth it. Layers of programs become 2.3 to 2.7 % larger than
	// what gzip makes of them; easyLevel alone would be 3.9 %, hardLevel alone 1.8 % and
	// 60 % slower.
	easyLevel = 6
	hardLevel = 7
	sample    = 32 << 10
	hard      = 45
)

// gzipCodec writes one gzip member. A block refers to the end of the one before it, and
// ends at a byte, so that blocks compressed on their own make one stream.
type gzipCodec struct {
	level    int
	buf      bytes.Buffer
	encoders map[int]*flate.Writer

	crc  uint32
	size uint32
}

func newGzip(level int) (*gzipCodec, error) {
	g := &gzipCodec{level: level, encoders: map[int]*flate.Writer{}}
	levels := []int{level}
	if level == 0 {
		levels = []int{flate.BestSpeed, easyLevel, hardLevel}
	}
	for _, l := range levels {
		w, err := flate.NewWriter(&g.buf, l)
		if err != nil {
			return nil, fmt.Errorf("compression gzip: %w", err)
		}
		g.encoders[l] = w
	}
	return g, nil
}

func (*gzipCodec) block() int { return gzipBlock }

func (g *gzipCodec) encode(dst, dict, block []byte) []byte {
	level := g.level
	if level == 0 {
		level = g.choose(block)
	}
	return append(dst, g.deflate(level, dict, block)...)
}

// choose looks at a sample of the block.
func (g *gzipCodec) choose(block []byte) int {
	part := block[max(0, len(block)-sample)/2:]
	part = part[:min(len(part), sample)]
	if 100*len(g.deflate(flate.BestSpeed, nil, part)) > hard*len(part) {
		return hardLevel
	}
	return easyLevel
}

// deflate returns the block compressed, valid until the next call. Its writer is a buffer,
// so it cannot fail.
func (g *gzipCodec) deflate(level int, dict, block []byte) []byte {
	g.buf.Reset()
	w := g.encoders[level]
	w.ResetDict(&g.buf, dict)
	for len(block) > 0 {
		n := min(len(block), piece)
		_, _ = w.Write(block[:n])
		_ = w.Flush()
		block = block[n:]
	}
	return g.buf.Bytes()
}

func (g *gzipCodec) count(block []byte) {
	g.crc = crc32.Update(g.crc, crc32.IEEETable, block)
	g.size += uint32(len(block))
}

// header says nothing of time, name or system.
func (*gzipCodec) header() []byte {
	return []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255}
}

// trailer is an empty last block, then the checksum and the size.
func (g *gzipCodec) trailer() []byte {
	b := []byte{1, 0, 0, 0xff, 0xff}
	b = binary.LittleEndian.AppendUint32(b, g.crc)
	return binary.LittleEndian.AppendUint32(b, g.size)
}
