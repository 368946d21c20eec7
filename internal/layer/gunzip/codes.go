package gunzip

import "io"

// codes decodes codes of the block into buf from out, until the block ends or the next code might not fit. It must not
// refer to data before low.
//
// The longest code and its extra bits take 20 bits for a length and 28 for a distance. A refill gives at least 56: enough
// for both, or for three literals without subtables. bits itself is full then: the 16 bits left after the longest copy
// suffice to look up the next entry while the copy is made, before its bits are consumed.
//
// Loads and stores are not checked. Each iteration starts with margin bytes at in[pos], of which two refills use 15, and
// with maxMatch+margin bytes at buf[out], which is enough for two literals and a copy that rounds up to 16 bytes. No table
// has a longer copy, and distances are compared with low.
//
// Only the lowest 6 bits of n count here: whole entries are subtracted from it, which have the length of the code there.
func (r *Reader) codes(buf []byte, out, low int) (int, error) {
	if err := r.refill(); err != nil {
		return out, err
	}
	lit, dist := &r.huff.lit, &r.huff.dist
	in, pos, bits, n := r.in, r.pos, r.bits, r.n
	last := len(in) - margin
	limit := len(buf) - maxMatch - margin
	e := lit[bits&(1<<litBits-1)]
	for out <= limit {
		if pos > last {
			r.pos, r.bits, r.n = pos, bits, n&63
			if err := r.more(); err != nil {
				return out, err
			}
			in, pos = r.in, r.pos
			last = len(in) - margin
		}
		bits |= load64(in, pos) << (n & 63)
		pos += 7 - int(n>>3&7)
		n |= 56

		if hasByte(e) {
			bits >>= e & 63
			n -= uint(e)
			store8(buf, out, byte(e>>16))
			out++
			e = lit[bits&(1<<litBits-1)]
			if hasByte(e) {
				bits >>= e & 63
				n -= uint(e)
				store8(buf, out, byte(e>>16))
				out++
				e = lit[bits&(1<<litBits-1)]
				if hasByte(e) {
					bits >>= e & 63
					n -= uint(e)
					store8(buf, out, byte(e>>16))
					out++
					e = lit[bits&(1<<litBits-1)]
					continue
				}
			}
			bits |= load64(in, pos) << (n & 63)
			pos += 7 - int(n>>3&7)
			n |= 56
		}
		if isSpecial(e) {
			if e&isTable != 0 {
				bits >>= litBits
				n -= litBits
				e = lit[(e>>16+uint32(bits)&(1<<(e>>8&15)-1))&(litSize-1)]
				if hasByte(e) {
					bits >>= e & 63
					n -= uint(e)
					store8(buf, out, byte(e>>16))
					out++
					e = lit[bits&(1<<litBits-1)]
					continue
				}
			}
			if isSpecial(e) {
				bits >>= e & 63
				n -= uint(e)
				r.pos, r.bits, r.n = pos, bits, n&63
				if e&isEnd == 0 {
					return out, ErrData
				}
				if r.over() {
					return out, io.ErrUnexpectedEOF
				}
				r.state = atBlock
				return out, nil
			}
		}
		length := int(e>>16) + int(bits&(1<<(e&63)-1)>>(e>>8&15))
		bits >>= e & 63
		n -= uint(e)

		e = dist[bits&(1<<distBits-1)]
		if isSpecial(e) {
			if e&isTable != 0 {
				bits >>= distBits
				n -= distBits
				e = dist[(e>>16+uint32(bits)&(1<<(e>>8&15)-1))&(distSize-1)]
			}
			if isSpecial(e) {
				r.pos, r.bits, r.n = pos, bits, n&63
				return out, ErrData
			}
		}
		distance := int(e>>16) + int(bits&(1<<(e&63)-1)>>(e>>8&15))
		bits >>= e & 63
		n -= uint(e)

		if out-distance < low {
			r.pos, r.bits, r.n = pos, bits, n&63
			return out, ErrData
		}
		e = lit[bits&(1<<litBits-1)]
		end := out + length
		switch {
		case distance >= 16:
			copy16(buf, out, out-distance)
			copy16(buf, out+16, out+16-distance) // most copies end here
			for at := out + 32; at < end; at += 16 {
				copy16(buf, at, at-distance)
			}
		case distance >= 8:
			for at := out; at < end; at += 8 {
				store64(buf, at, load64(buf, at-distance))
			}
		case distance == 1:
			v := uint64(load8(buf, out-1)) * 0x0101010101010101
			for at := out; at < end; at += 8 {
				store64(buf, at, v)
			}
		default:
			for at := out; at < end; at++ {
				store8(buf, at, load8(buf, at-distance))
			}
		}
		out = end
	}
	r.pos, r.bits, r.n = pos, bits, n&63
	return out, nil
}
