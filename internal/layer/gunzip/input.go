package gunzip

import "io"

// input is the compressed stream, read as bytes and bits.
type input struct {
	next func() ([]byte, error)

	in  []byte // in[pos:end] is unused; bytes after end are zeros
	pos int
	end int
	eof bool // in[:end] is the last input

	// bits holds what was read from in before pos, next bit lowest. The lowest n bits count; those above may
	// already be part of what is at pos.
	bits uint64
	n    uint
}

// more ensures that margin bytes can be read from pos.
func (r *input) more() error {
	for len(r.in)-r.pos < margin {
		if r.eof {
			if r.over() {
				return io.ErrUnexpectedEOF
			}
			r.in = append(r.in, make([]byte, margin)...)
			continue
		}
		back := int(r.n / 8) // align may go back to these
		r.in = r.in[:copy(r.in, r.in[r.pos-back:])]
		r.pos = back
		piece, err := r.next()
		if err != nil && err != io.EOF {
			return err
		}
		r.in = append(r.in, piece...)
		r.end, r.eof = len(r.in), err == io.EOF
	}
	return nil
}

// over reports whether more input was used than exists.
func (r *input) over() bool {
	return r.eof && r.pos-int(r.n/8) > r.end
}

// take returns the next count bits, at most 16.
func (r *input) take(count uint) (uint32, error) {
	if r.n < count {
		if err := r.refill(); err != nil {
			return 0, err
		}
	}
	v := r.got(count)
	if r.over() {
		return 0, io.ErrUnexpectedEOF
	}
	return v, nil
}

// got returns the next count bits, which must be in bits.
func (r *input) got(count uint) uint32 {
	v := uint32(r.bits) & (1<<count - 1)
	r.bits >>= count
	r.n -= count
	return v
}

// align discards the rest of the current byte.
func (r *input) align() {
	r.pos -= int(r.n / 8)
	r.bits, r.n = 0, 0
}

// zeros skips zero bytes. It reports whether there were any, and whether the input ends there. It must be called at a
// byte boundary.
func (r *input) zeros() (some, end bool, err error) {
	r.align()
	for {
		for r.pos < r.end {
			if r.in[r.pos] != 0 {
				return some, false, nil
			}
			some = true
			r.pos++
		}
		if r.eof {
			return some, true, nil
		}
		if err := r.more(); err != nil {
			return some, false, err
		}
	}
}

// copy copies up to len(p) bytes of input. It must be called at a byte boundary.
func (r *input) copy(p []byte) (int, error) {
	for r.pos >= r.end {
		if r.eof {
			return 0, io.ErrUnexpectedEOF
		}
		if err := r.more(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.in[r.pos:r.end])
	r.pos += n
	return n, nil
}
