package layer

import "sync"

const (
	// chunkSize is how much archive travels from goroutine to goroutine at a time: it
	// fits a core's cache.
	chunkSize = 256 << 10

	// history is how far back gzip's data refers; a chunk keeps so much before it.
	history = 32 << 10

	// own is how many chunks a stream may always have, whatever the others took. With
	// fewer its goroutines would wait for each other.
	own = 4
)

// chunk is a piece of an archive.
type chunk struct {
	buf  []byte // history, then data
	data []byte // what of buf is archive
	err  error  // instead of data
}

// Budget bounds the memory of the streams that read ahead.
type Budget struct {
	mu   sync.Mutex
	more sync.Cond // there is room again
	max  int       // chunks that may be taken beyond what each stream owns
	left int       // of them
	free [][]byte
}

// NewBudget returns a Budget of so many bytes.
func NewBudget(bytes int64) *Budget {
	chunks := int(bytes / (chunkSize + history))
	b := &Budget{max: chunks, left: chunks}
	b.more.L = &b.mu
	return b
}

// share is what one stream has of the budget.
type share struct {
	b      *Budget
	taken  int
	closed bool
}

// take returns a buffer, or nil once the share is closed.
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

// give returns a buffer.
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

// release returns everything that was taken, by any goroutine.
func (s *share) release() {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	s.b.left += max(s.taken-own, 0)
	s.taken = 0
	s.b.more.Broadcast()
}

// close wakes the goroutines that wait in take.
func (s *share) close() {
	s.b.mu.Lock()
	defer s.b.mu.Unlock()
	s.closed = true
	s.b.more.Broadcast()
}
