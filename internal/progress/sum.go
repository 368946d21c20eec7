package progress

import (
	"strconv"
	"sync/atomic"
	"time"

	"osbuild-containers/internal/answer"
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
	parts   map[string]*part // blobs by digest: several items may need one, and it is transferred once
	bytes   int64            // downloaded
	reused  int64
}

// part is a blob that items need.
type part struct {
	size   int64 // bytes
	blob   *Blob // that transfers it; nil: none does
	done   bool
	reused bool // and so not transferred, unless there is a blob that does
}

// needs records that an item needs the blob.
func (s *sum) needs(b *Blob) *part {
	if s.parts == nil {
		s.parts = map[string]*part{}
	}
	p := s.parts[b.ref.Blob]
	if p == nil {
		p = &part{size: b.ref.Size}
		s.parts[b.ref.Blob] = p
	}
	return p
}

// enter records the state that the blob is in now.
func (s *sum) enter(b *Blob, now state) {
	switch p := s.needs(b); now {
	case downloading:
		p.blob, p.done = b, false
	case reused:
		p.reused = true
	case done:
		p.done = true
	}
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
		r.events.write(answer.BeginEvent{Items: items})
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
		r.events.write(answer.DoneEvent{EventItem: pinnedRef(name, digest, key), Cached: true})
	}
}

// Over removes the item from the screen without writing anything.
func (i *Item) Over() {
	if i != nil {
		i.end(answer.DoneEvent{EventItem: i.ref})
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
		r.events.write(answer.EndEvent{
			Items: s.items, Cached: s.cached, Failed: missing, Bytes: s.bytes, Reused: s.reused, Seconds: inSeconds(time.Since(s.began)),
		})
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
}

// end records that an item has ended, and how.
func (s *sum) end(i *Item, how answer.Event) {
	s.ended++
	switch e := how.(type) {
	case answer.DoneEvent:
		s.bytes = manifest.AddSizes(s.bytes, e.Bytes)
		s.reused = manifest.AddSizes(s.reused, e.Reused)
		if e.Cached {
			s.cached++
		}
	case answer.FailedEvent:
		s.failed++
		for _, b := range i.blobs { // what it did not finish is not waited for
			if p := s.parts[b.ref.Blob]; p != nil && !p.done && (p.blob == b || p.blob == nil) {
				delete(s.parts, b.ref.Blob)
			}
		}
	}
	if !i.started { // it ended before its size was known
		i.started = true
		s.started++
	}
}

// progress returns how many bytes of all that has to be transferred are present, and how many these are; -1 if that is
// not known yet. What is reused is not counted.
func (s *sum) progress() (have, size int64) {
	for _, p := range s.parts {
		switch {
		case p.blob != nil:
			have = manifest.AddSizes(have, p.blob.has())
			size = manifest.AddSizes(size, max(p.size, 0))
		case !p.reused && !p.done:
			size = manifest.AddSizes(size, max(p.size, 0))
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

// label returns the label of the total's bar, with the time that is left; 0 if that is not known.
func (s *sum) label(left time.Duration) string {
	label := "all: " + strconv.Itoa(s.ended) + " of " + strconv.Itoa(s.items)
	if left <= 0 {
		return label + " done"
	}
	return label + ", " + left.String() + " left"
}

// timeLeft estimates how long the rest takes at that speed (bytes per second); 0 if that is not known.
func timeLeft(have, size, speed int64) time.Duration {
	if size <= have || speed <= 0 {
		return 0
	}
	seconds := (size - have + speed - 1) / speed
	if seconds > int64(24*time.Hour/time.Second) {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

// total is the state of the total's bar. mpb draws it while the Reporter's lock is held, so it takes no lock.
type total struct {
	label      atomic.Pointer[string]
	have, size atomic.Int64
	speed      atomic.Int64 // bytes per second
	percent    atomic.Int64 // of what is fetched and unpacked, and one more; 0: nothing is unpacked
}

// measure updates the state, with the speed of the active blobs and the time until all of them are done.
func (t *total) measure(s *sum, active []*Blob) {
	have, size := s.progress()
	t.have.Store(have)
	t.size.Store(size)
	var speed int64
	var longest time.Duration // of one blob: the speed of the others is not its own
	for _, b := range active {
		if s := state(b.state.Load()); s == downloading || s == unpacking {
			speed += b.speed.Load()
			longest = max(longest, timeLeft(b.has(), b.size, b.speed.Load()))
		}
	}
	t.speed.Store(speed)
	left := timeLeft(have, size, speed)
	if left > 0 {
		left = max(left, longest)
	}
	label := s.label(left)
	t.label.Store(&label)
}

// line formats the bar of the total.
func (t *total) line(cols, labelWidth int) string {
	if p := t.percent.Load(); p > 0 {
		return unpackLine(p-1, "all", labelWidth, min(cols, maxCols))
	}
	return line(*t.label.Load(), labelWidth, t.have.Load(), t.size.Load(), Bytes(t.speed.Load())+"/s", min(cols, maxCols))
}
