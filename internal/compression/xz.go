package compression

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
	"slices"

	"github.com/ulikunitz/xz"
	"github.com/ulikunitz/xz/lzma"

	"osbuild-containers/internal/hint"
)

// An xzReader reads the blocks of xz streams with the library's LZMA2 decoder. The library's own reader allocates the dictionary
// that a block declares, up to 4 GiB, without a limit. The format is described at
// https://tukaani.org/xz/xz-file-format.txt
type xzReader struct {
	in           *xzInput
	check        func() hash.Hash // checksum of blocks; nil between streams
	block        io.Reader        // nil between blocks
	sum          hash.Hash        // checksum of the block
	out          int64            // bytes decompressed
	dictionaries int64            // bytes of all dictionaries so far
}

// xzInput counts input bytes, since parts of a stream are aligned to 4 bytes.
type xzInput struct {
	r *bufio.Reader
	n int64
}

func newXz(r io.Reader) *xzReader {
	return &xzReader{in: &xzInput{r: bufio.NewReaderSize(r, 1<<16)}}
}

func (i *xzInput) Read(p []byte) (int, error) {
	n, err := i.r.Read(p)
	i.n += int64(n)
	return n, err
}

// ReadByte implements io.ByteReader.
func (i *xzInput) ReadByte() (byte, error) {
	b, err := i.r.ReadByte()
	if err == nil {
		i.n++
	}
	return b, err
}

// take reads n bytes. The error is io.ErrUnexpectedEOF if there are fewer.
func (i *xzInput) take(n int) ([]byte, error) {
	p := make([]byte, n)
	_, err := io.ReadFull(i, p)
	return p, cutShort(err)
}

// pad reads zeros up to the next multiple of 4 bytes.
func (i *xzInput) pad() error {
	zeros, err := i.take(int(-i.n & 3))
	if err == nil && len(bytes.Trim(zeros, "\x00")) > 0 {
		return errXz
	}
	return err
}

func cutShort(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Each block allocates a dictionary, whatever its size. The largest blocks of xz -9 --block-size=64KiB declare a dictionary of a
// thousand times their data.
const (
	maxDictionaries = 1 << 30 // bytes allowed without any data
	dictionaryRatio = 4096    // additional bytes per byte of data
)

var errXz = errors.New("not valid xz data")

// Read implements io.Reader.
func (x *xzReader) Read(p []byte) (int, error) {
	for len(p) > 0 {
		if x.block == nil {
			if err := x.next(); err != nil {
				return 0, err
			}
		}
		n, err := x.block.Read(p)
		x.sum.Write(p[:n])
		x.out += int64(n)
		if err == io.EOF {
			err = x.endBlock()
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
	return 0, nil
}

// next starts the next block, in this or the next stream. It returns io.EOF after the last stream.
func (x *xzReader) next() error {
	for {
		if x.check == nil {
			if err := x.beginStream(); err != nil {
				return err
			}
		}
		size, err := x.in.ReadByte()
		switch {
		case err != nil:
			return cutShort(err)
		case size != 0:
			return x.beginBlock(size)
		}
		if err := x.endStream(); err != nil {
			return err
		}
	}
}

// beginStream reads padding and the header of a stream.
func (x *xzReader) beginStream() error {
	for {
		switch head, err := x.in.r.Peek(4); {
		case len(head) == 0:
			return err // io.EOF at a valid end
		case err != nil:
			return cutShort(err)
		case x.in.n == 0 || string(head) != "\x00\x00\x00\x00":
			head, err := x.in.take(xz.HeaderLen)
			if err != nil {
				return err
			}
			return x.readHeader(head)
		}
		if _, err := x.in.take(4); err != nil {
			return err
		}
	}
}

func (x *xzReader) readHeader(head []byte) error {
	if !xz.ValidHeader(head) {
		return errXz
	}
	switch head[7] {
	case xz.None:
		x.check = func() hash.Hash { return none{crc32.NewIEEE()} }
	case xz.CRC32:
		x.check = func() hash.Hash { return crc32.NewIEEE() }
	case xz.CRC64:
		x.check = func() hash.Hash { return crc64.New(crc64.MakeTable(crc64.ECMA)) }
	case xz.SHA256:
		x.check = sha256.New
	}
	return nil
}

// none is the empty checksum.
type none struct{ hash.Hash }

func (none) Sum(b []byte) []byte { return b }
func (none) Size() int           { return 0 }

// beginBlock reads a block's header after its first byte.
func (x *xzReader) beginBlock(size byte) error {
	rest, err := x.in.take(int(size)*4 + 3)
	if err != nil {
		return err
	}
	head := append([]byte{size}, rest...)
	fields, sum := head[:len(head)-4], head[len(head)-4:]
	if crc32.ChecksumIEEE(fields) != binary.LittleEndian.Uint32(sum) {
		return errXz
	}
	flags, r := fields[1], bytes.NewReader(fields[2:])
	for _, has := range []byte{0x40, 0x80} { // optional sizes, not needed
		if flags&has != 0 {
			if _, err := binary.ReadUvarint(r); err != nil {
				return errXz
			}
		}
	}
	var filter [3]byte // id of LZMA2, length of its properties, encoded dictionary size
	if _, err := io.ReadFull(r, filter[:]); err != nil {
		return errXz
	}
	if flags&0x3f != 0 || filter[0] != 0x21 || filter[1] != 1 {
		return hint.Add(errors.New("an xz filter other than LZMA2 is not supported"), "compress it without one")
	}
	dictionary, err := lzma.DecodeDictCap(filter[2])
	if err != nil {
		return errXz
	}
	if dictionary > MaxWindow {
		return hint.Add(fmt.Errorf("the xz dictionary needs %d bytes of memory, more than the limit of %d", dictionary, MaxWindow), "compress it with xz -9 or less")
	}
	if x.dictionaries += dictionary; x.dictionaries > maxDictionaries+dictionaryRatio*x.out {
		return hint.Add(fmt.Errorf("the xz blocks ask for %d bytes of dictionaries for %d bytes of data, more than the limit", x.dictionaries, x.out),
			"compress it with larger blocks")
	}
	x.sum = x.check()
	x.block, err = lzma.Reader2Config{DictCap: int(dictionary)}.NewReader2(x.in)
	return err
}

// endBlock reads and checks the checksum of a block.
func (x *xzReader) endBlock() error {
	if err := x.in.pad(); err != nil {
		return err
	}
	want, err := x.in.take(x.sum.Size())
	if err != nil {
		return err
	}
	got := x.sum.Sum(nil)
	if len(got) < sha256.Size {
		slices.Reverse(got) // little-endian
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("an xz block is damaged: got checksum %x, want %x", got, want)
	}
	x.block = nil
	return nil
}

// endStream reads the index after its first byte, and the footer. Blocks are read without them.
func (x *xzReader) endStream() error {
	count, err := binary.ReadUvarint(x.in)
	if err != nil {
		return cutShort(err)
	}
	for ; count > 0; count-- {
		for range 2 {
			if _, err := binary.ReadUvarint(x.in); err != nil {
				return cutShort(err)
			}
		}
	}
	if err := x.in.pad(); err != nil {
		return err
	}
	tail, err := x.in.take(4 + 12) // checksum of the index, and footer
	if err == nil && string(tail[14:]) != "YZ" {
		err = errXz
	}
	x.check = nil
	return err
}
