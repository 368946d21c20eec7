package layer

import (
	"context"
	"errors"
	"io"
	"math"
	"runtime"
	"runtime/debug"

	"github.com/klauspost/compress/zstd"
)

// A stream may always have a window of zstd of up to smallWindow bytes. How many have a larger one at a time is limited.
const (
	smallWindow  = 8 << 20  // what RFC 8878, 3.1.1.1.2 recommends to support, and the tools that make images use
	mediumWindow = 32 << 20 // what older ones use at their highest level
)

// windows is a number of windows of each kind.
type windows [2]int

const (
	medium = iota // up to mediumWindow
	large
)

func newWindows() windows {
	procs := runtime.GOMAXPROCS(0)
	return windows{medium: max(2, procs), large: max(1, procs/8)}
}

// walk follows the structure of a frame of zstd: RFC 8878, 3.1.1.
type walk struct {
	header zstd.Header // once it was read
	end    bool        // the frame ends after what next returned last

	bytes  []byte // those of a header read so far: the frame's, or a block's
	blocks bool   // the frame's header was read
}

// next takes the next byte of the frame's header or of a block's, and returns how many bytes follow it before the next.
func (w *walk) next(b byte) (skip int64, err error) {
	w.bytes = append(w.bytes, b)
	switch {
	case !w.blocks:
		err := w.header.Decode(w.bytes)
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
		w.blocks = true
		if w.header.Skippable {
			w.end, skip = true, int64(w.header.SkippableSize)
		}
	case len(w.bytes) < 3:
		return 0, nil
	default:
		// RFC 8878, 3.1.1.2.
		v := int64(w.bytes[0]) | int64(w.bytes[1])<<8 | int64(w.bytes[2])<<16
		w.end = v&1 != 0
		skip = v >> 3
		if kind := v >> 1 & 3; kind == 1 { // one byte, repeated
			skip = 1
		}
		if w.end && w.header.HasCheckSum {
			skip += 4
		}
	}
	w.bytes = w.bytes[:0]
	return skip, nil
}

// window returns the window that the frame needs, in bytes.
func (w *walk) window() uint64 {
	if w.header.SingleSegment {
		return w.header.FrameContentSize
	}
	return w.header.WindowSize
}

// gate passes on a blob of zstd. It passes on the header of a frame when the stream may have the window of the frame.
type gate struct {
	r     io.Reader
	share *share
	walk  walk
	skip  int64 // bytes up to the next header
}

func (g *gate) Read(p []byte) (int, error) {
	n, err := g.r.Read(p)
	for b := p[:n]; len(b) > 0; {
		k := min(g.skip, int64(len(b)))
		b, g.skip = b[k:], g.skip-k
		if len(b) == 0 {
			break
		}
		if g.walk.end {
			g.walk = walk{}
		}
		var invalid error
		if g.skip, invalid = g.walk.next(b[0]); invalid != nil {
			g.skip = math.MaxInt64 // an error of the decoder
		}
		b = b[1:]
		if g.walk.blocks && !g.share.window(g.walk.window()) {
			return 0, context.Canceled
		}
	}
	return n, err
}

// window waits until the stream may have a window of that many bytes, which it then keeps until its end. A stream that is
// read ahead leaves the last one to the others, for which it may itself have to wait. It returns false once the share is closed.
//
// Two streams cannot wait for each other: one with a large window needs no other.
func (s *share) window(bytes uint64) bool {
	if bytes <= smallWindow {
		return true
	}
	kind := medium
	if bytes > mediumWindow {
		kind = large
	}
	taken, open := s.takeWindow(kind)
	if taken {
		debug.FreeOSMemory() // of the last stream that had it
	}
	return open
}

// takeWindow is window for a kind of them. taken is false if the stream has had one.
func (s *share) takeWindow(kind int) (taken, open bool) {
	b := s.b
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		switch {
		case s.closed:
			return false, false
		case s.windows[kind] > 0 || s.windows[large] > 0:
			return false, true
		case b.windows[kind] > 1 || b.windows[kind] == 1 && !s.ahead:
			s.windows[kind]++
			b.windows[kind]--
			return true, true
		}
		b.more.Wait()
	}
}
