// Package gunzip decompresses gzip into the caller's buffers.
//
// It exists for speed: most of the time to unpack an image is spent in inflate, and other libraries read their input byte
// by byte and copy their output twice. This one reads eight bytes of input at a time, decodes with tables that give a
// value, the bits of its code and its extra bits in one lookup, and writes into a buffer that starts with the preceding
// output, which gzip refers back to.
//
// It guarantees the same bytes as compress/gzip, in a time within a fixed multiple of that of compress/gzip, and an error
// for whatever that rejects. Header, checksum and length of each member are checked. Data after the last member is an
// error unless it is all zeros, as in gzip.
//
// The innermost loop has no bounds checks: all unsafe code is in unchecked.go, and function codes says why its indexes are
// within bounds. Builds with the tag checked have bounds checks; tests and fuzz targets run with both.
//
// It does not support preset dictionaries or seeking, and does not return header fields.
package gunzip

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
)

// Errors of an invalid stream.
var (
	ErrHeader   = errors.New("gzip: bad header, or something else after the compressed data")
	ErrChecksum = errors.New("gzip: checksum or length does not match the data")
	ErrData     = errors.New("gzip: bad compressed data")
)

const (
	// History is the number of bytes before the data in a buffer passed to Fill.
	History = 32 << 10

	// MinBuffer is the minimum length of a buffer passed to Fill.
	MinBuffer = History + 4096

	maxMatch = 258 // longest copy, in bytes
	margin   = 16  // bytes of input present, and of output free, before any is used
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
	last    bool    // the block is the member's last
	left    int     // of a stored block
	huff    *tables // of the current block
	own     tables

	tail [History]byte // last bytes of output
	past int           // how much of tail the member may refer to

	crc  uint32 // of the member's output
	size uint32 // length of the member's output, modulo 2^32
}

// New returns a Reader of the stream that next returns in pieces. A piece is not used after the following call. An error
// of next ends the stream: io.EOF is its end, any other error is returned by Fill.
func New(next func() ([]byte, error)) *Reader {
	return &Reader{input: input{next: next}}
}

// Fill decompresses into buf[History:] and returns the number of bytes, which is 0 only together with an error. At the
// end the error is io.EOF.
func (r *Reader) Fill(buf []byte) (int, error) {
	if len(buf) < MinBuffer {
		return 0, io.ErrShortBuffer
	}
	low := History - r.past // start of the data that copies may refer to
	copy(buf[low:History], r.tail[low:])
	out, mark := History, History // the checksum covers data before mark
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
			err = io.ErrUnexpectedEOF // the zeros read after the end were invalid
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

// sum adds data to the member's checksum.
func (r *Reader) sum(data []byte) {
	r.crc = crc32.Update(r.crc, crc32.IEEETable, data)
	r.size += uint32(len(data))
}

// header reads the header of a member, if there is one.
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
	flags := h.bytes(7)[0] // followed by the time and other ignored fields
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

// trailer checks the member's checksum and length.
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

// headerReader reads the fields of a header until one fails.
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

// text skips a zero-terminated string, with the maximum length of compress/gzip.
func (h *headerReader) text() {
	for range 512 {
		if b := h.bytes(1); b[0] == 0 || h.err != nil {
			return
		}
	}
	h.err = ErrHeader
}
