package progress

import (
	"strconv"
	"time"

	"osbuild-containers/internal/answer"
)

// Unpacking announces that what is fetched is unpacked afterwards: all of it is one
// percentage, of which the download is the first half. Call it before anything begins.
func (r *Reporter) Unpacking() {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sum.startClock()
	r.percent = new(int64)
	*r.percent = -1
	r.tellPercentLocked()
}

// Unpack reports that the item, which is fetched, begins to be unpacked. Count what is read of
// the size bytes with Add, and end it with Unpacked or Abandoned.
func (i *Item) Unpack(digest string, size int64) *Blob {
	if i == nil {
		return nil
	}
	b := i.Blob("image", 0, 0, digest, size)
	i.r.mu.Lock()
	i.r.unpacking = b
	i.r.mu.Unlock()
	b.enter(unpacking, "unpacking")
	return b
}

// Unpacked reports that the image is unpacked, and where it is.
func (b *Blob) Unpacked(to string, took time.Duration) {
	if b == nil {
		return
	}
	b.have.Store(b.size)
	b.enter(done, "")
	r := b.item.r
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tellPercentLocked()
	if r.events != nil {
		r.events.write(answer.UnpackedEvent{EventItem: b.item.ref, To: Clean(to), Seconds: inSeconds(took)})
	}
}

// Abandoned reports that the image could not be unpacked, and why.
func (b *Blob) Abandoned(why string) {
	if b == nil {
		return
	}
	r := b.item.r
	r.mu.Lock()
	defer r.mu.Unlock()
	r.unwatchLocked(func(other *Blob) bool { return other == b })
	if r.events != nil {
		r.events.write(answer.FailedEvent{EventItem: b.item.ref, Error: Clean(why)})
	}
}

// percentLocked is how much is done of downloading and unpacking.
func (r *Reporter) percentLocked() int64 {
	if b := r.unpacking; b != nil {
		switch {
		case state(b.state.Load()) == done:
			return 100
		case b.size <= 0:
			return 50
		}
		return min(50+percent(b.have.Load(), b.size)/2, 99)
	}
	have, size := r.sum.progress()
	if size <= 0 {
		return 0
	}
	return min(percent(have, size)/2, 50)
}

// tellPercentLocked tells a program the percentage, if it is another one, and where it is to be told.
func (r *Reporter) tellPercentLocked() {
	if r.percent == nil || r.events == nil {
		return
	}
	if now := max(r.percentLocked(), *r.percent); now != *r.percent {
		*r.percent = now
		r.events.write(answer.PercentEvent{Percent: now})
	}
}

// unpackLine is the bar of all, for what is unpacked.
func unpackLine(percent int64, what string, labelWidth, cols int) string {
	left, right := padRight(what, labelWidth), padLeft(strconv.FormatInt(percent, 10)+" %", len("100 %"))
	room := cols - 1 - len(left) - len("  []  ") - len(right)
	if room < minFill {
		return cutRunes(what+"  "+right, cols-1)
	}
	return left + "  " + fill(percent, 100, room) + "  " + right
}
