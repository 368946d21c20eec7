// Package gunzip decompresses gzip into the caller's buffers.
//
// It exists for speed: most of the time that unpacking an image takes is inflate,
// and the libraries read their input byte by byte and copy their output twice. This
// one takes eight bytes of input at a time, decodes with tables that give a
// value, the bits of its code and those behind it in one look, and writes into a
// buffer that begins with the output's past, which is what gzip refers to.
//
// What it promises: the same bytes as compress/gzip, in a time that is within a fixed
// multiple of its time, and an error for what that refuses. Header, checksum and length of
// every member are checked. What follows the last member is an error, unless it is all
// zeros, as gzip itself has it.
//
// The innermost loop does without the checks of bounds: that is all that the unsafe code
// is for, and unchecked.go has all of it. Function codes says why its bounds hold. Builds
// with the tag checked have the checks: the tests and the fuzz targets run with it, too.
//
// What it does not: dictionaries, seeking, or telling what a header says.
package gunzip

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
)

// The errors of a stream that is not what it should be.
var (
	ErrHeader   = errors.New("gzip: bad header, or something else after the compressed data")
	ErrChecksum = errors.New("gzip: checksum or length does not match the data")
	ErrData     = errors.New("gzip: bad compressed data")
)

const (
	// History is the number of bytes before the data in a buffer given to Fill.
	History = 32 << 10

	// MinBuffer is the smallest buffer that Fill takes.
	MinBuffer = History + 4096

	maxMatch = 258 // is the longest copy
	margin   = 16  // bytes of input are there, and of output free, before any is used
)

type state int

const (
	atMember  state = iota // before a header, or at the end
	atBlock                // before a block, or a trailer
	inStored               // in a block of plain data
	inCodes                // in a block of codes
	atTrailer              // after the last block
	done
)

// Reader decompresses one stream.
type Reader struct {
	input
	state   state
	members int
	last    bool    // the block is the last of its member
	left    int     // of a stored block
	huff    *tables // of the block
	own     tables

	tail [History]byte // the end of what was decompressed
	past int           // as much of it as the member may refer to

	crc  uint32 // of the member
	size uint32 // of it, as far as 32 bits go
}

// New returns a Reader of the stream that next returns piece by piece. A piece is not
// used after the next call. An error of next ends the stream: io.EOF when that was
// all, else it is what Fill returns.
func New(next func() ([]byte, error)) *Reader {
	return &Reader{input: input{next: next}}
}

// Fill decompresses into buf[History:] and returns how many bytes that was, which is 0
// only with an error. After the last byte the error is io.EOF.
func (r *Reader) Fill(buf []byte) (int, error) {
	if len(buf) < MinBuffer {
		return 0, io.ErrShortBuffer
	}
	low := History - r.past // where what may be referred to begins
	copy(buf[low:History], r.tail[low:])
	out, mark := History, History // mark: the checksum covers what is before
	for {
		var err error
		switch r.state {
		case atMember:
			low, mark = out, out
			err = r.header()
		case atBlock:
			err = r.block()
		case inStored:
			out, err = r.stored(buf, out)
		case inCodes:
			out, err = r.codes(buf, out, low)
		case atTrailer:
			r.sum(buf[mark:out])
			mark = out
			err = r.trailer()
		case done:
			err = io.EOF
		}
		if errors.Is(err, ErrData) && r.over() {
			err = io.ErrUnexpectedEOF // the zeros behind the end made no sense
		}
		full := out > len(buf)-maxMatch-margin
		if err == nil && !full {
			continue
		}
		r.sum(buf[mark:out])
		r.past = min(History, out-low)
		copy(r.tail[History-r.past:], buf[out-r.past:out])
		if out > History && (err == nil || err == io.EOF) {
			return out - History, nil
		}
		return 0, err
	}
}

// sum takes data into the checksum of the member.
func (r *Reader) sum(data []byte) {
	r.crc = crc32.Update(r.crc, crc32.IEEETable, data)
	r.size += uint32(len(data))
}

// header reads the header of a member, or finds that there is none.
func (r *Reader) header() error {
	if r.members > 0 {
		zeros, end, err := r.zeros()
		if err != nil {
			return err
		}
		if zeros && !end {
			return ErrHeader
		}
		if end {
			r.state = done
			return nil
		}
	}
	const (
		hasCRC     = 1 << 1
		hasExtra   = 1 << 2
		hasName    = 1 << 3
		hasComment = 1 << 4
	)
	h := headerReader{in: &r.input}
	magic := h.bytes(3)
	if h.err == nil && (magic[0] != 0x1f || magic[1] != 0x8b || magic[2] != 8) {
		return ErrHeader
	}
	flags := h.bytes(7)[0] // with a time and more that does not matter
	if flags&hasExtra != 0 {
		size := h.bytes(2)
		h.skip(int(binary.LittleEndian.Uint16(size[:])))
	}
	if flags&hasName != 0 {
		h.text()
	}
	if flags&hasComment != 0 {
		h.text()
	}
	if flags&hasCRC != 0 {
		want := uint16(h.crc)
		if got := h.bytes(2); h.err == nil && binary.LittleEndian.Uint16(got[:]) != want {
			return ErrHeader
		}
	}
	r.members++
	r.crc, r.size = 0, 0
	r.state = atBlock
	return h.err
}

// trailer compares the member's checksum and length.
func (r *Reader) trailer() error {
	r.align()
	h := headerReader{in: &r.input}
	got := h.bytes(8)
	if h.err != nil {
		return h.err
	}
	if binary.LittleEndian.Uint32(got[:]) != r.crc || binary.LittleEndian.Uint32(got[4:]) != r.size {
		return ErrChecksum
	}
	r.state = atMember
	return nil
}

// headerReader reads the parts of a header until one fails.
type headerReader struct {
	in  *input
	crc uint32
	err error
}

func (h *headerReader) bytes(n int) (got [10]byte) {
	for i := range n {
		v, err := h.in.take(8)
		if err != nil && h.err == nil {
			h.err = err
		}
		got[i] = byte(v)
	}
	h.crc = crc32.Update(h.crc, crc32.IEEETable, got[:n])
	return got
}

func (h *headerReader) skip(n int) {
	for ; n > 0 && h.err == nil; n-- {
		h.bytes(1)
	}
}

// text steps over a text and the zero that ends it, no longer than compress/gzip has
// it.
func (h *headerReader) text() {
	for range 512 {
		if b := h.bytes(1); b[0] == 0 || h.err != nil {
			return
		}
	}
	h.err = ErrHeader
}
