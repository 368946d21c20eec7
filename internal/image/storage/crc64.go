package storage

import (
	"encoding/binary"
	"hash/crc64"

	"github.com/vbatts/tar-split/tar/storage"
)

// A checksum is a checksum of a file in tar-split data.
type checksum uint64

// Write adds p to the checksum. It never fails.
func (c *checksum) Write(p []byte) (int, error) {
	*c = checksum(updateCRC64(uint64(*c), p))
	return len(p), nil
}

// updateCRC64 is crc64.Update with storage.CRCTable, in a third of the time.
//
// The polynomial, x^64 + x^4 + x^3 + x + 1, has so few terms that a few shifts carry a sum over the next word, where
// package crc64 looks up a table for each byte. Four independent sums, each of every fourth word, avoid waiting for each
// other.
func updateCRC64(crc uint64, p []byte) uint64 {
	if len(p) < 64 {
		return crc64.Update(crc, storage.CRCTable, p)
	}
	a := word(p) ^ ^crc
	b, c, d := word(p[8:]), word(p[16:]), word(p[24:])
	for p = p[32:]; len(p) >= 32; p = p[32:] {
		a = over4(a) ^ word(p)
		b = over4(b) ^ word(p[8:])
		c = over4(c) ^ word(p[16:])
		d = over4(d) ^ word(p[24:])
	}
	crc = ^over(over(over(over(a)^b)^c) ^ d)
	return crc64.Update(crc, storage.CRCTable, p)
}

// word returns the next eight bytes as coefficients, x^63 in the lowest bit.
func word(p []byte) uint64 { return binary.LittleEndian.Uint64(p) }

// over carries a sum over one word: it returns s·x^64, which is s·(x^4+x^3+x+1), or
// s·(x+1)·(x^3+1).
func over(s uint64) uint64 {
	return times(s, 1, 3) ^ times(s<<63^s<<61^s<<60, 1, 3)
}

// over4 carries a sum over four words: x^256 is (x^4+x^3+x+1)^4, or (x^4+1)·(x^12+1).
func over4(s uint64) uint64 {
	return times(s, 4, 12) ^ times(s<<60^s<<52^s<<48, 1, 3)
}

// times returns s·(x^i+1)·(x^k+1), less the terms from x^64 on.
func times(s uint64, i, k uint) uint64 {
	s ^= s >> i
	return s ^ s>>k
}
