package progress

import (
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"osbuild-containers/internal/manifest"
)

// sum counts what all items together have and need. It is guarded by the Reporter's lock.
type sum struct {
	began   time.Time
	items   int // that were announced
	started int // whose size is known
	ended   int
	cached  int
	failed  int
	size    int64 // of all that started, bytes
	have    int64 // of those that ended
	running []*Item
	bytes   int64 // downloaded
	reused  int64
}

// Begin announces further items, those that need nothing included: a terminal
// shows how many are done, and a program is told.
func (r *Reporter) Begin(items int) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sum.began.IsZero() {
		r.sum.began = time.Now()
	}
	r.sum.items += items
	if r.events != nil {
		r.events.write(beginEvent{items})
	}
}

// Cached records that an item is in the cache. It is counted, and a program is told; a log is not, since
// there may be many thousands.
func (r *Reporter) Cached(name, digest, key string) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sum.ended++
	r.sum.started++
	r.sum.cached++
	if r.events != nil {
		r.events.write(doneEvent{itemRef: pinnedRef(name, digest, key), Cached: true})
	}
}

// Over removes the item from the screen, and writes nothing.
func (i *Item) Over() {
	if i != nil {
		i.end(doneEvent{itemRef: i.ref})
	}
}

// End tells a program that this was all.
func (r *Reporter) End() {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &r.sum
	if r.events != nil {
		missing := s.items - (s.ended - s.failed)
		r.events.write(endEvent{s.items, s.cached, missing, s.bytes, s.reused, inSeconds(time.Since(s.began))})
	}
}

// start notes that an item needs so many bytes.
func (s *sum) start(i *Item, bytes int64) {
	if i.started || bytes < 0 {
		return
	}
	i.started = true
	s.started++
	i.size = bytes
	s.size = manifest.AddSizes(s.size, bytes)
	s.running = append(s.running, i)
}

// end notes that an item needs nothing more, and how it ended.
func (s *sum) end(i *Item, how event) {
	s.ended++
	switch e := how.(type) {
	case doneEvent:
		s.bytes = manifest.AddSizes(s.bytes, e.Bytes)
		s.reused = manifest.AddSizes(s.reused, e.Reused)
		if e.Cached {
			s.cached++
		}
	case failedEvent:
		s.failed++
		s.size -= i.size
		i.size = 0
	}
	s.have = manifest.AddSizes(s.have, i.size)
	if !i.started { // it ended before it needed anything
		i.started = true
		s.started++
	}
	s.running = slices.DeleteFunc(s.running, func(other *Item) bool { return other == i })
}

// progress is how much there is of all, and of how much; -1 as long as that is not known.
func (s *sum) progress() (have, size int64) {
	have, size = s.have, s.size
	for _, i := range s.running {
		for _, b := range i.blobs {
			have = manifest.AddSizes(have, b.has())
		}
	}
	if s.started < s.items {
		size = -1
	}
	return have, size
}

// has is how many bytes of the blob are there.
func (b *Blob) has() int64 {
	switch state(b.state.Load()) {
	case reused, done:
		return max(b.size, 0)
	}
	return b.have.Load()
}

// label is how the bar of all begins.
func (s *sum) label() string {
	return "all: " + strconv.Itoa(s.ended) + " of " + strconv.Itoa(s.items) + " done"
}

// total is what the bar of all shows. mpb draws it while the Reporter's lock is held, so it takes none.
type total struct {
	label      atomic.Pointer[string]
	have, size atomic.Int64
	speed      atomic.Int64 // bytes in a second
}

// measure takes what is to be shown, with the speed of the blobs that are active.
func (t *total) measure(s *sum, active []*Blob) {
	label := s.label()
	t.label.Store(&label)
	have, size := s.progress()
	t.have.Store(have)
	t.size.Store(size)
	var speed int64
	for _, b := range active {
		if state(b.state.Load()) == downloading {
			speed += b.speed.Load()
		}
	}
	t.speed.Store(speed)
}

// line is the bar of all.
func (t *total) line(cols, labelWidth int) string {
	return line(*t.label.Load(), labelWidth, t.have.Load(), t.size.Load(), Bytes(t.speed.Load())+"/s", min(cols, maxCols))
}
