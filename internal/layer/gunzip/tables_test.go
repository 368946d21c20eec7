package gunzip

import (
	"bytes"
	"errors"
	"math/bits"
	"testing"
)

// lengths returns, after some symbols without a code, a number of symbols of each length: pairs of length and number.
func lengths(pairs ...[2]int) []uint8 {
	sizes := []uint8{0, 0, 0}
	for _, p := range pairs {
		sizes = append(sizes, bytes.Repeat([]byte{byte(p[0])}, p[1])...)
	}
	return sizes
}

// chain returns a code with one symbol of each length, the longest first, and two of the last.
func chain(longest int) []uint8 {
	sizes := []uint8{uint8(longest)}
	for s := longest; s >= 1; s-- {
		sizes = append(sizes, uint8(s))
	}
	return sizes
}

func TestTablesDecodeTheCode(t *testing.T) {
	for name, c := range map[string]struct {
		sizes []uint8
		valid bool
	}{
		"no code":                  {lengths(), true},
		"one bit":                  {lengths([2]int{1, 1}), true},
		"two symbols":              {lengths([2]int{1, 2}), true},
		"one length":               {lengths([2]int{5, 32}), true},
		"the table's width":        {chain(litBits), true},
		"subtables of one bit":     {chain(litBits + 1), true},
		"the longest":              {chain(maxCode), true},
		"many subtables":           {lengths([2]int{15, 256}, [2]int{1, 1}, [2]int{2, 1}, [2]int{3, 1}, [2]int{4, 1}, [2]int{5, 1}, [2]int{6, 1}, [2]int{7, 1}), true},
		"subtables of all lengths": {lengths([2]int{15, 2}, [2]int{14, 1}, [2]int{13, 3}, [2]int{12, 6}, [2]int{11, 12}, [2]int{10, 24}, [2]int{9, 48}, [2]int{3, 1}, [2]int{2, 1}, [2]int{1, 1}), true},
		"a bit missing":            {lengths([2]int{2, 1}), false},
		"a quarter missing":        {lengths([2]int{2, 3}), false},
		"the last missing":         {chain(maxCode)[1:], false},
		"one too many":             {append(chain(maxCode), maxCode), false},
		"three of one bit":         {lengths([2]int{1, 3}), false},
	} {
		t.Run(name, func(t *testing.T) {
			table := make([]uint32, litSize)
			for i := range table {
				table[i] = 0xdeadbeef // of the block before
			}
			if got := build(table, litBits, c.sizes, litMeaning[:]); got != c.valid {
				t.Fatalf("valid: %v, want %v", got, c.valid)
			}
			if !c.valid {
				return
			}
			want := map[[2]uint32]int{} // symbols by length and code
			code := uint32(0)
			for s := uint32(1); s <= maxCode; s++ {
				for symbol, size := range c.sizes {
					if uint32(size) == s {
						want[[2]uint32{s, uint32(bits.Reverse16(uint16(code))) >> (16 - s)}] = symbol
						code++
					}
				}
				code <<= 1
			}
			for in := range uint32(1 << maxCode) {
				entry, before := table[in&(1<<litBits-1)], uint32(0)
				if isSpecial(entry) && entry&isTable != 0 {
					before = litBits
					entry = table[entry>>16+in>>litBits&(1<<(entry>>8&15)-1)]
				}
				size := before + entry>>8&15
				symbol, found := want[[2]uint32{size, in & (1<<size - 1)}]
				if !found && len(want) < 2 && isSpecial(entry) && entry&(isTable|isEnd) == 0 {
					continue
				}
				if rest := size - before; !found || entry != litMeaning[symbol]+rest<<8+rest {
					t.Fatalf("%015b: entry %x, length %d, symbol %d", in, entry, size, symbol)
				}
			}
		})
	}
}

func TestCopiesStayInTheMember(t *testing.T) {
	// A block of fixed codes: "a", and three bytes from one or two bytes before.
	block := func(distance uint64) []byte {
		w := &bitWriter{}
		w.put(1|1<<1, 3)
		w.put(uint64(bits.Reverse8(0x30+'a')), 8)
		w.put(uint64(bits.Reverse8(1)>>1), 7)
		w.put(uint64(bits.Reverse8(uint8(distance-1))>>3), 5)
		w.put(0, 7+7)
		return w.out
	}
	good := member(block(1))
	bad := append(bytes.Clone(good[:10]), block(2)...)
	for _, before := range [][]byte{nil, good, zip(t, 1, make([]byte, 100_000))} {
		if out, err := unzip(append(bytes.Clone(before), good...), 100, MinBuffer); err != nil || !bytes.HasSuffix(out, []byte("aaaa")) {
			t.Errorf("after %d bytes: error %v", len(before), err)
		}
		if _, err := unzip(append(append(bytes.Clone(before), bad...), good...), 100, MinBuffer); !errors.Is(err, ErrData) {
			t.Errorf("after %d bytes: error %v, want %v", len(before), err, ErrData)
		}
	}
}

func TestLengthWithoutACodeIsAnError(t *testing.T) {
	w := &bitWriter{out: []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0}}
	w.put(1|2<<1, 3)
	w.put(0, 5)
	w.put(0, 5)
	w.put(1, 4)      // 5 sizes of the code for sizes
	w.put(1<<12, 15) // only the last, 8, has a code: 0
	for range 8 {
		w.put(0, 32) // 256 literals of 8 bits
	}
	w.put(3, 8) // the end and the distance
	if _, err := unzip(append(w.out, make([]byte, 100)...), 1000, MinBuffer); !errors.Is(err, ErrData) {
		t.Errorf("error %v, want %v", err, ErrData)
	}
}
