package gunzip

import "math/bits"

// A table entry describes a code completely:
//
//	bit  31     the value is a literal
//	bits 16-30  value: literal, base of a length or distance, or index of a subtable
//	bit  15     none of these, but as bits 13 and 14 say, or an invalid code
//	bit  14     subtable, indexed with bits 8-11 more bits
//	bit  13     end of block
//	bits 8-11   length of the code in bits
//	bits 0-5    length of the code and its extra bits
const (
	isByte  = 1 << 31
	special = 1 << 15
	isTable = 1 << 14
	isEnd   = 1 << 13

	maxCode  = 15 // bits
	litBits  = 11
	distBits = 9
	// Large enough for subtables for all codes longer than the table's width.
	litSize  = 8192
	distSize = 4096
)

// These two test for a sign, which takes one instruction less than to test for a bit.

func hasByte(e uint32) bool   { return int32(e) < 0 }
func isSpecial(e uint32) bool { return int16(e) < 0 }

type tables struct {
	lit  [litSize]uint32
	dist [distSize]uint32
}

// build makes the tables for codes with these lengths, and reports whether they are valid.
func (t *tables) build(lit, dist []uint8) bool {
	return build(t.lit[:], litBits, lit, litMeaning[:]) && build(t.dist[:], distBits, dist, distMeaning[:])
}

const (
	maxLit  = 288
	maxDist = 32
)

// Symbols as entries without the length of their codes.
var (
	litMeaning  = lits()
	distMeaning = dists()
	lenMeaning  = lens()
)

func lits() (m [maxLit]uint32) {
	for i := range uint32(256) {
		m[i] = isByte | i<<16
	}
	m[256] = special | isEnd
	base, extra := uint32(3), uint32(0)
	for i := uint32(257); i < 285; i++ {
		if k := i - 257; k >= 8 && k%4 == 0 {
			extra++
		}
		m[i] = base<<16 | extra
		base += 1 << extra
	}
	m[285] = maxMatch << 16
	m[286], m[287] = special, special
	return m
}

func dists() (m [maxDist]uint32) {
	base, extra := uint32(1), uint32(0)
	for i := range uint32(30) {
		if i >= 4 && i%2 == 0 {
			extra++
		}
		m[i] = base<<16 | extra
		base += 1 << extra
	}
	m[30], m[31] = special, special
	return m
}

func lens() (m [19]uint32) {
	for i := range m {
		m[i] = uint32(i) << 16
	}
	return m
}

// build makes a table for a code with these lengths. It reports whether the code is valid: not oversubscribed and, except
// for one bit or no code at all, not incomplete.
func build(table []uint32, width uint, sizes []uint8, meaning []uint32) bool {
	var count [maxCode + 1]uint16
	for _, s := range sizes {
		count[s]++
	}
	left, longest := 1, uint(0)
	for s := uint(1); s <= maxCode; s++ {
		left = left<<1 - int(count[s])
		if left < 0 {
			return false
		}
		if count[s] > 0 {
			longest = s
		}
	}
	if left > 0 {
		if longest > 1 {
			return false
		}
		table[0] = special // the first copy below puts it where the one code is not
	}

	// The symbols in the order of their codes, after those without one.
	var next [maxCode + 1]uint16
	for s := 1; s <= maxCode; s++ {
		next[s] = next[s-1] + count[s-1]
	}
	var sorted [maxLit]uint16
	for symbol, s := range sizes {
		sorted[next[s]] = uint16(symbol)
		next[s]++
	}
	symbols := sorted[count[0]:len(sizes)]

	code := uint(0) // its first bit is the lowest
	for s := uint(1); s <= width; s++ {
		copy(table[1<<(s-1):1<<s], table[:1<<(s-1)]) // an entry repeats after the length of its code
		for _, symbol := range symbols[:count[s]] {
			table[code] = meaning[symbol] + uint32(s)<<8 + uint32(s)
			code = following(code, s)
		}
		symbols = symbols[count[s]:]
	}
	free, prefix := uint32(1)<<width, ^uint(0)
	for s := width + 1; s <= longest; s++ {
		sub, rest := uint32(longest-width), uint32(s-width) // bits of each subtable, and of the code in it
		for _, symbol := range symbols[:count[s]] {
			if code&(1<<width-1) != prefix {
				prefix = code & (1<<width - 1)
				table[prefix] = special | isTable | free<<16 | sub<<8 | uint32(width)
				free += 1 << sub
			}
			entry := meaning[symbol] + rest<<8 + rest
			for i := uint32(code >> width); i < 1<<sub; i += 1 << rest {
				table[free-1<<sub+i] = entry
			}
			code = following(code, s)
		}
		symbols = symbols[count[s]:]
	}
	return true
}

// following returns the next code of the same length, in bits.
func following(code, length uint) uint {
	zeros := code ^ (1<<length - 1)
	if zeros == 0 {
		return 0 // it was the last one
	}
	last := uint(1) << (bits.Len(zeros) - 1)
	return code&(last-1) | last
}
