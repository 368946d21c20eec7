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

	// piece is the number of bytes after which deflate gets new Huffman codes. Layers mix programs, text and pictures
	// closely: codes that fit each of them save more than their own size.
	piece = 32 << 10

	// The default levels: a fast one, and a better one for blocks that look hard to compress. A block is hard if the
	// fastest level keeps more than hard of 100 bytes of a sample from its middle. Other measures (number of distinct
	// values, comparing two fast levels, more and larger samples) predicted no better where the better level pays.
	// Layers of programs become 2.3 to 2.7 % larger than gzip's; with easyLevel alone it would be 3.9 %, with
	// hardLevel alone 1.8 %, at 60 % more time.
	easyLevel = 6
	hardLevel = 7
	sample    = 32 << 10
	hard      = 45
)

// gzipCodec writes one gzip member. A block refers to the end of the previous one and ends at a byte boundary, so that blocks
// compressed separately form one stream.
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

// choose selects a level from a sample of the block.
func (g *gzipCodec) choose(block []byte) int {
	part := block[max(0, len(block)-sample)/2:]
	part = part[:min(len(part), sample)]
	if 100*len(g.deflate(flate.BestSpeed, nil, part)) > hard*len(part) {
		return hardLevel
	}
	return easyLevel
}

// deflate returns the compressed block, valid until the next call. Its writer is a buffer, so it cannot fail.
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

// header returns a header without time, name or system.
func (*gzipCodec) header() []byte {
	return []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255}
}

// trailer returns an empty last block, the checksum and the size.
func (g *gzipCodec) trailer() []byte {
	b := []byte{1, 0, 0, 0xff, 0xff}
	b = binary.LittleEndian.AppendUint32(b, g.crc)
	return binary.LittleEndian.AppendUint32(b, g.size)
}
