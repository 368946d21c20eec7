package gunzip

import (
	"encoding/binary"
	"sync"
)

// order is the order in which the lengths of the code length code are stored.
var order = [19]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// block reads the header of the next block.
func (r *Reader) block() error {
	if r.last {
		r.last = false
		r.state = atTrailer
		return nil
	}
	h, err := r.take(3)
	if err != nil {
		return err
	}
	r.last = h&1 != 0
	switch h >> 1 {
	case 0:
		return r.storedHeader()
	case 1:
		r.state = inCodes
		r.huff = fixed()
		return nil
	case 2:
		r.state = inCodes
		return r.dynamic()
	default:
		return ErrData
	}
}

func (r *Reader) storedHeader() error {
	r.align()
	size, err := r.take(16)
	if err != nil {
		return err
	}
	again, err := r.take(16)
	if err != nil {
		return err
	}
	if size != again^0xffff {
		return ErrData
	}
	r.align()
	r.left = int(size)
	r.state = inStored
	return nil
}

func (r *Reader) stored(buf []byte, out int) (int, error) {
	for r.left > 0 && out < len(buf) {
		n, err := r.copy(buf[out:min(out+r.left, len(buf))])
		if err != nil {
			return out, err
		}
		out += n
		r.left -= n
	}
	if r.left == 0 {
		r.state = atBlock
	}
	return out, nil
}

// fixed returns the tables of the fixed codes, built once.
var fixed = sync.OnceValue(func() *tables {
	var sizes [maxLit + maxDist]uint8
	for i := range sizes {
		switch {
		case i >= maxLit:
			sizes[i] = 5
		case i < 144 || i >= 280:
			sizes[i] = 8
		case i < 256:
			sizes[i] = 9
		default:
			sizes[i] = 7
		}
	}
	t := new(tables)
	if !t.build(sizes[:maxLit], sizes[maxLit:]) {
		panic("gunzip: the fixed codes are wrong")
	}
	return t
})

// dynamic reads the codes of a dynamic block.
func (r *Reader) dynamic() error {
	h, err := r.take(14)
	if err != nil {
		return err
	}
	lits, dists, n := int(h&31)+257, int(h>>5&31)+1, int(h>>10)+4
	if lits > 286 || dists > 30 {
		return ErrData
	}
	var first [19]uint8
	for i := range n {
		s, err := r.take(3)
		if err != nil {
			return err
		}
		first[order[i]] = uint8(s)
	}
	const width = 7
	var table [1 << width]uint32
	if !build(table[:], width, first[:], lenMeaning[:]) {
		return ErrData
	}
	var sizes [maxLit + maxDist]uint8
	var before uint8
	for i := 0; i < lits+dists; {
		if r.n < width+7 { // of the code, and of its extra bits
			if err := r.refill(); err != nil {
				return err
			}
		}
		e := table[r.bits&(1<<width-1)]
		if isSpecial(e) {
			return ErrData // not a code
		}
		r.got(uint(e & 0xff))
		symbol := e >> 16
		if symbol < 16 {
			before = uint8(symbol)
			sizes[i] = before
			i++
			continue
		}
		again, value := 0, uint8(0)
		switch symbol {
		case 16:
			if i == 0 {
				return ErrData
			}
			value = before
			again = 3 + int(r.got(2))
		case 17:
			again = 3 + int(r.got(3))
		case 18:
			again = 11 + int(r.got(7))
		}
		if i+again > lits+dists {
			return ErrData
		}
		before = value
		for ; again > 0; again-- {
			sizes[i] = value
			i++
		}
	}
	r.huff = &r.own
	if !r.own.build(sizes[:lits], sizes[lits:lits+dists]) {
		return ErrData
	}
	return nil
}

// refill moves as many whole bytes into bits as fit.
func (r *input) refill() error {
	if len(r.in)-r.pos < margin {
		if err := r.more(); err != nil {
			return err
		}
	}
	r.bits |= binary.LittleEndian.Uint64(r.in[r.pos:]) << (r.n & 63)
	r.pos += int((63 - r.n) >> 3)
	r.n |= 56
	return nil
}
