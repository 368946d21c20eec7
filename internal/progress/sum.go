package progress

import (
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"osbuild-containers/internal/manifest"
)

// sum adds up all items. It is guarded by the Reporter's lock.
type sum struct {
	began   time.Time
	items   int // announced
	started int // of known size
	ended   int
	cached  int
	failed  int
	size    int64 // of all started items, bytes
	have    int64 // of those that ended
	running []*Item
	bytes   int64 // downloaded
	reused  int64
}

// Begin announces further items, including those that are in the cache. A terminal shows how many are done, and a
// program gets an event.
func (r *Reporter) Begin(items int) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sum.startClock()
	r.sum.items += items
	if r.events != nil {
		r.events.write(beginEvent{items})
	}
}

// Cached records that an item is in the cache. It is counted and produces an event, but no log line, since there
// may be thousands.
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

// Over removes the item from the screen without writing anything.
func (i *Item) Over() {
	if i != nil {
		i.end(doneEvent{itemRef: i.ref})
	}
}

// End writes the final event.
func (r *Reporter) End() {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &r.sum
	if r.events != nil {
		s.startClock() // nothing may have begun
		missing := s.items - (s.ended - s.failed)
		r.events.write(endEvent{s.items, s.cached, missing, s.bytes, s.reused, inSeconds(time.Since(s.began))})
	}
}

// startClock records when the work began, the first time it is called.
func (s *sum) startClock() {
	if s.began.IsZero() {
		s.began = time.Now()
	}
}

// start records that an item needs that many bytes.
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

// end records that an item has ended, and how.
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
	if !i.started { // it ended before its size was known
		i.started = true
		s.started++
	}
	s.running = slices.DeleteFunc(s.running, func(other *Item) bool { return other == i })
}

// progress returns the bytes present and the total; -1 if that is not known yet.
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

// has returns how many bytes of the blob are present.
func (b *Blob) has() int64 {
	switch state(b.state.Load()) {
	case reused, done:
		if b.size < 0 {
			return b.have.Load()
		}
		return b.size
	}
	return b.have.Load()
}

// label returns the label of the total's bar.
func (s *sum) label() string {
	return "all: " + strconv.Itoa(s.ended) + " of " + strconv.Itoa(s.items) + " done"
}

// total is the state of the total's bar. mpb draws it while the Reporter's lock is held, so it takes no lock.
type total struct {
	label      atomic.Pointer[string]
	have, size atomic.Int64
	speed      atomic.Int64 // bytes per second
	percent    atomic.Int64 // of what is fetched and unpacked, and one more; 0: nothing is unpacked
}

// measure updates the state, with the speed of the active blobs.
func (t *total) measure(s *sum, active []*Blob) {
	label := s.label()
	t.label.Store(&label)
	have, size := s.progress()
	t.have.Store(have)
	t.size.Store(size)
	var speed int64
	for _, b := range active {
		if s := state(b.state.Load()); s == downloading || s == unpacking {
			speed += b.speed.Load()
		}
	}
	t.speed.Store(speed)
}

// line formats the bar of the total.
func (t *total) line(cols, labelWidth int) string {
	if p := t.percent.Load(); p > 0 {
		return unpackLine(p-1, "all", labelWidth, min(cols, maxCols))
	}
	return line(*t.label.Load(), labelWidth, t.have.Load(), t.size.Load(), Bytes(t.speed.Load())+"/s", min(cols, maxCols))
}
