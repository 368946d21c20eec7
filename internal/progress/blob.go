package progress

import (
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/vbauerster/mpb/v8"

	"osbuild-containers/internal/answer"
)

const (
	// A smaller blob is logged only when it is done.
	tiny = 1_000_000

	// The interval between two heartbeats of a blob is a quarter of its time so far, within these bounds: short
	// downloads are followed closely, and one that takes an hour does not fill the log.
	minBeat = 5 * time.Second
	maxBeat = 30 * time.Second
)

type state int32

const (
	idle state = iota
	downloading
	waiting
	reused
	done
	unpacking
)

// Blob is a layer or a config that is being fetched.
type Blob struct {
	item   *Item
	prefix string           // begins each of its lines
	label  string           // begins its bar
	size   int64            // negative: unknown
	ref    answer.EventBlob // identifies it in events

	have    atomic.Int64 // bytes present
	state   atomic.Int32
	retryAt atomic.Int64 // start of the next attempt, Unix nanoseconds
	speed   atomic.Int64 // bytes per second, for the bar

	// Guarded by the Reporter's lock.
	began  time.Time // start of the current state
	marked time.Time // time of the last line
	mark   int64     // value of have at that time
	bar    *mpb.Bar
}

// Blob returns a blob of the item with the given kind ("layer" or "config"), digest and size; a negative size is
// unknown. Layers are numbered: index counts from 1 to total.
func (i *Item) Blob(kind string, index, total int, digest string, size int64) *Blob {
	if i == nil {
		return nil
	}
	b := &Blob{item: i, size: size, ref: answer.EventBlob{EventItem: i.ref, Blob: Clean(digest), Kind: kind, Size: max(size, 0)}}
	number := ""
	if kind == "layer" {
		b.ref.Index, b.ref.Of = index, total
	}
	if kind != "config" && total > 0 {
		number = " " + strconv.Itoa(index) + "/" + strconv.Itoa(total)
	}
	b.prefix = i.prefix + kind + number + " " + Short(digest)
	if size >= 0 {
		b.prefix += " " + Bytes(size)
	}
	b.prefix += ": "
	if number == "" {
		number = " " + kind
	}
	b.label = i.short + number + " " + shortHex(digest)
	i.r.mu.Lock()
	defer i.r.mu.Unlock()
	i.blobs = append(i.blobs, b)
	if kind != "image" { // which is unpacked, not transferred
		i.r.sum.needs(b)
	}
	return b
}

// Begin logs the start of a transfer; verb is "downloading", "copying" or "sending". For blobs under 1 MB it logs
// nothing, since another line follows soon: "done", or a heartbeat.
func (b *Blob) Begin(verb string) {
	if b == nil {
		return
	}
	if b.size >= 0 && b.size < tiny {
		verb = ""
	}
	b.enter(downloading, verb)
}

// Resuming logs that the download continues after the first bytes, which are present already.
func (b *Blob) Resuming(from int64) {
	if b == nil {
		return
	}
	b.have.Store(from)
	b.enter(downloading, "resuming at "+Bytes(from))
}

// Skip logs that no transfer is needed; verb is "reusing" for a blob of the cache, and "mounted" for one that the
// registry has in another repository. It is the last call for the blob.
func (b *Blob) Skip(verb string) {
	if b == nil {
		return
	}
	b.enter(reused, verb)
}

// Waiting logs that another process is downloading the blob.
func (b *Blob) Waiting() {
	if b == nil {
		return
	}
	b.enter(waiting, "waiting for another process")
}

// Add counts n bytes that were received. It is one atomic addition.
func (b *Blob) Add(n int64) {
	if b != nil {
		b.have.Add(n)
	}
}

// Reset records that the download restarts at that offset, with only the bytes before it. It is logged only if
// bytes were discarded.
func (b *Blob) Reset(at int64) {
	if b == nil {
		return
	}
	r := b.item.r
	r.mu.Lock()
	defer r.mu.Unlock()
	lost := b.have.Swap(at) > at
	b.marked, b.mark = time.Now(), at
	if lost {
		r.passLocked(b.event("restarting"), b.prefix, "starting again at "+Bytes(at))
	}
}

// Retry logs that an attempt, counted from 1, failed with err and that the next one
// begins after wait. There are at most of attempts, 0 if that is unknown.
func (b *Blob) Retry(attempt, of int, wait time.Duration, err error) {
	if b == nil {
		return
	}
	number := strconv.Itoa(attempt)
	if of > 0 {
		number += " of " + strconv.Itoa(of)
	}
	text := Clean(fmt.Sprintf("attempt %s failed, next in %s: %v", number, seconds(wait), err))
	e := answer.RetryEvent{Attempt: attempt, Wait: inSeconds(wait), Error: Clean(fmt.Sprint(err))}
	r := b.item.r
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	b.marked, b.mark = now, b.have.Load()
	b.retryAt.Store(now.Add(wait).UnixNano())
	e.BlobEvent = b.event("retrying")
	r.tellLocked(e, b.prefix, text)
}

// Done logs that the blob is complete. After Skip it logs nothing.
func (b *Blob) Done() {
	if b == nil {
		return
	}
	b.enter(done, "done")
}

// enter changes the state and logs text.
func (b *Blob) enter(s state, text string) {
	r := b.item.r
	r.mu.Lock()
	defer r.mu.Unlock()
	if old := state(b.state.Load()); old == reused || old == done {
		return
	}
	b.state.Store(int32(s))
	if s != unpacking && b.ref.Kind != "image" {
		r.sum.enter(b, s)
	}
	now := time.Now()
	b.began, b.marked, b.mark = now, now, b.have.Load()
	b.retryAt.Store(0)
	if s == downloading || s == waiting || s == unpacking {
		r.watchLocked(b)
	} else {
		r.unwatchLocked(func(other *Blob) bool { return other == b })
	}
	r.passLocked(b.event(stateName(s, b.have.Load())), b.prefix, text)
}

// due reports whether it is time for a heartbeat.
func (b *Blob) due(now time.Time) bool {
	gap := min(max(now.Sub(b.began)/4, minBeat), maxBeat)
	return now.Sub(b.marked) >= gap && now.UnixNano() >= b.retryAt.Load()
}

// heartbeat formats the progress of the blob, and starts the next measurement of speed.
func (b *Blob) heartbeat(now time.Time) string {
	have, took := b.have.Load(), now.Sub(b.marked)
	speed := rate(have-b.mark, took)
	b.marked, b.mark = now, have
	if state(b.state.Load()) == waiting {
		return "waiting for another process for " + seconds(now.Sub(b.began))
	}
	text := Bytes(have)
	if b.size > 0 {
		text += ", " + strconv.FormatInt(percent(have, b.size), 10) + " %"
	}
	return text + ", " + Bytes(speed) + "/s"
}

// measure updates the speed for the bar, smoothed to be readable.
func (b *Blob) measure(now time.Time) {
	have, old := b.have.Load(), b.speed.Load()
	speed := rate(have-b.mark, now.Sub(b.marked))
	if old != 0 {
		speed = old + (speed-old)/8
	}
	b.speed.Store(speed)
	b.marked, b.mark = now, have
}
