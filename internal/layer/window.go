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

// smallWindow is the window, in bytes, that each decoder of zstd may have: what RFC 8878, 3.1.1.1.2 recommends for all. How
// many may have a larger one at a time is limited.
const smallWindow = 8 << 20

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

// gate passes on a blob of zstd. Before the header of a frame with a large window, it waits until the stream may have one.
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
		if g.walk.blocks && g.walk.window() > smallWindow && !g.share.largeWindow() {
			return 0, context.Canceled
		}
	}
	return n, err
}

// largeWindows returns how many streams may have a large window at a time.
func largeWindows() int { return max(1, runtime.GOMAXPROCS(0)/4) }

// largeWindow waits until the stream may have a large window, which it then keeps until its end. One that is read ahead
// leaves the last one to the others, for which it may itself have to wait. It returns false once the share is closed.
func (s *share) largeWindow() bool {
	b := s.b
	b.mu.Lock()
	defer b.mu.Unlock()
	for !s.closed && !s.large && (b.windows == 0 || s.ahead && b.windows == 1) {
		b.more.Wait()
	}
	if !s.closed && !s.large {
		s.large = true
		b.windows--
		debug.FreeOSMemory() // of the last one that had it
	}
	return !s.closed
}
