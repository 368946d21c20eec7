package layer

import "sync"

const (
	// chunkSize is the size, in bytes, of the pieces of an archive passed between goroutines. It fits a core's cache.
	chunkSize = 256 << 10

	// history is gzip's window in bytes; a chunk keeps that many bytes before its data.
	history = 32 << 10

	// own is how many chunks a stream may always take. With fewer its goroutines would wait for each other.
	own = 4
)

// chunk is a piece of an archive.
type chunk struct {
	buf  []byte // history followed by data
	data []byte // the part of buf after the history
	err  error  // instead of data
}

// Budget bounds the memory of the streams that read ahead.
type Budget struct {
	mu   sync.Mutex
	more sync.Cond // signalled when chunks or windows are given back, and when what a share may have changes
	max  int       // shared chunks, beyond those each stream owns
	left int       // shared chunks not taken
	free [][]byte
	pool pool

	windows windows // not taken
}

// NewBudget returns a Budget of the given number of bytes.
func NewBudget(bytes int64) *Budget {
	chunks := int(bytes / (chunkSize + history))
	b := &Budget{max: chunks, left: chunks, pool: newPool(), windows: newWindows()}
	b.more.L = &b.mu
	return b
}

// share is one stream's part of the budget.
type share struct {
	b       *Budget
	taken   int
	ahead   bool    // the stream is read ahead
	windows windows // taken
	closed  bool
}

// take returns a buffer, waiting for one if necessary, or nil once the share is closed.
func (s *share) take() []byte {
	b := s.b
	b.mu.Lock()
	defer b.mu.Unlock()
	for !s.closed && s.taken >= own && b.left <= 0 {
		b.more.Wait()
	}
	if s.closed {
		return nil
	}
	if s.taken >= own {
		b.left--
	}
	s.taken++
	if n := len(b.free); n > 0 {
		buf := b.free[n-1]
		b.free = b.free[:n-1]
		return buf
	}
	return make([]byte, history+chunkSize)
}

// give gives a buffer back.
func (s *share) give(buf []byte) {
	b := s.b
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.taken > own {
		b.left++
	}
	s.taken--
	b.free = append(b.free, buf)
	b.more.Broadcast()
}

// release gives back everything that was taken, by any goroutine.
func (s *share) release() {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	s.b.left += max(s.taken-own, 0)
	s.taken = 0
	for kind, n := range s.windows {
		s.b.windows[kind] += n
		s.windows[kind] = 0
	}
	s.b.more.Broadcast()
}

// close wakes the goroutines waiting in take.
func (s *share) close() {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	s.closed = true
	s.b.more.Broadcast()
}

// prioritize is Stream.Prioritize.
func (s *share) prioritize() {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	s.ahead = false
	s.b.more.Broadcast()
}
