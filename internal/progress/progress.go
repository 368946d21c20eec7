// Package progress shows the progress of fetching images.
//
// It has one API and three outputs. NewLog writes lines for a log or a pipe: every line is written by one Write,
// starts with the name of its item (items run in parallel), and is shorter than osbuild's limit. NewBars draws a
// bar for each running download, and one for the total, on a terminal; above them it prints lines that remain:
// notes, retries, failures and one summary per item. NewEvents writes the same as JSON, for programs, in the format
// of docs/json.md.
//
// Foreign text (names, errors) is made printable, and apparent credentials in it are replaced by stars. A log has a
// line about a running download at most every five seconds. No goroutine runs before the first download starts. A
// nil Reporter, Item or Blob does nothing, so a caller without an output passes nil.
//
// Errors of the writer are ignored. Lines are for people and may change; programs read the reply, or events.
package progress

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"osbuild-containers/internal/answer"
	"osbuild-containers/internal/retry"
)

// Reporter reports to one log, terminal or program. Its methods, and those of its items and blobs, are safe for
// concurrent use.
type Reporter struct {
	every time.Duration // interval of the ticker
	quiet bool          // only failures are written

	mu     sync.Mutex
	w      io.Writer
	bars   *bars         // nil: log lines
	events *events       // nil unless the output is JSON
	line   []byte        // reused by every line
	sum    sum           // of all items
	active []*Blob       // neither finished nor reused, in the order of their start
	stop   chan struct{} // not nil while the ticker runs
	ticker sync.WaitGroup
	closed bool

	failures []failure      // since the last SumFailures
	tries    retry.Reported // failed ones

	percent   *int64 // that a program was told last; nil: nothing is unpacked
	unpacking *Blob  // what is being unpacked; nil: it is fetched first
}

// NewLog returns a Reporter that writes lines to w.
func NewLog(w io.Writer) *Reporter {
	return &Reporter{w: w, every: time.Second}
}

// NewQuiet returns a Reporter that writes to w only why items failed.
func NewQuiet(w io.Writer) *Reporter {
	r := NewLog(w)
	r.quiet = true
	return r
}

// NewBars returns a Reporter that draws bars on the terminal w. If w is not a terminal, it returns NewLog(w).
func NewBars(w io.Writer) *Reporter {
	r := NewLog(w)
	if size, ok := terminal(w); ok {
		r.bars = newBars(w, size)
		r.every = 200 * time.Millisecond
	}
	return r
}

// failure is why items failed or were interrupted.
type failure struct {
	why   string
	shown string // the line of the first item
	times int
}

// repeatedLocked records that an item failed, and reports whether another one failed for the same reason, which a log
// and a terminal show once.
func (r *Reporter) repeatedLocked(why, shown string) bool {
	for n := range r.failures {
		if r.failures[n].why == why {
			r.failures[n].times++
			return true
		}
	}
	r.failures = append(r.failures, failure{why, shown, 1})
	return false
}

// Repeated reports whether a log that has shown a failed try like f may leave out f. A program is told of all.
func (r *Reporter) Repeated(f retry.Failure) bool {
	return r != nil && r.events == nil && r.tries.Repeated(f)
}

// SumFailures writes how many more items ended for a reason that was shown for the first of them only. Close does so, too.
func (r *Reporter) SumFailures() {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.failures {
		if f.times > 1 {
			text := f.shown
			if why, failed := strings.CutPrefix(text, failedPrefix); failed {
				text = "failed for the same reason: " + why
			}
			r.failLocked("", strconv.Itoa(f.times-1)+" more "+text)
		}
	}
	r.failures = nil
}

// Note writes one line that belongs to no item.
func (r *Reporter) Note(format string, args ...any) {
	if r == nil {
		return
	}
	text := Clean(fmt.Sprintf(format, args...))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tellLocked(answer.NoteEvent{Text: text}, "", text)
}

// Close removes the bars from the screen and stops the ticker. Later lines are still written; bars and heartbeats
// are not. Closing twice is allowed.
func (r *Reporter) Close() {
	if r == nil {
		return
	}
	r.mu.Lock()
	r.closed = true
	r.unwatchLocked(func(*Blob) bool { return true })
	stop := r.stop
	r.stop = nil
	r.mu.Unlock()
	if stop != nil {
		close(stop)
	}
	r.SumFailures()
	r.ticker.Wait() // not under the lock, which the ticker takes

	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bars != nil {
		r.bars.close()
		r.bars = nil
	}
}

// tellLocked reports something that remains visible, as an event or a line. Prefix and text are clean.
func (r *Reporter) tellLocked(e answer.Event, prefix, text string) {
	if r.events != nil {
		r.events.write(e)
		return
	}
	r.writeLocked(prefix, text)
}

// passLocked reports something transient: as an event, as a line unless text is empty, but not on a terminal, where
// the bar shows it.
func (r *Reporter) passLocked(e answer.Event, prefix, text string) {
	if r.events != nil {
		r.events.write(e)
	} else if r.bars == nil && text != "" {
		r.writeLocked(prefix, text)
	}
}

// writeLocked writes a line to the log, or above the bars.
func (r *Reporter) writeLocked(prefix, text string) {
	if !r.quiet {
		r.failLocked(prefix, text)
	}
}

// failLocked is writeLocked for the reason of a failure.
func (r *Reporter) failLocked(prefix, text string) {
	r.line = append(append(r.line[:0], prefix...), text...)
	r.line = append(cut(r.line, maxLine), '\n')
	if r.bars != nil {
		r.bars.write(r.line)
		return
	}
	_, _ = r.w.Write(r.line)
}

// watchLocked adds a blob to those whose progress is shown, and starts the ticker.
func (r *Reporter) watchLocked(b *Blob) {
	if r.closed || slices.Contains(r.active, b) {
		return
	}
	r.active = append(r.active, b)
	if r.stop != nil {
		return
	}
	stop := make(chan struct{})
	r.stop = stop
	r.ticker.Go(func() {
		t := time.NewTicker(r.every)
		defer t.Stop()
		for {
			select {
			case <-t.C:
				r.tick(time.Now())
			case <-stop:
				return
			}
		}
	})
}

// unwatchLocked removes the blobs that match.
func (r *Reporter) unwatchLocked(match func(*Blob) bool) {
	r.active = slices.DeleteFunc(r.active, func(b *Blob) bool {
		if !match(b) {
			return false
		}
		if r.bars != nil {
			r.bars.remove(b)
		}
		return true
	})
}

// tick updates the output for all active blobs: a log gets the heartbeats that are due, a terminal the bars of
// downloads that take long, a program everything.
func (r *Reporter) tick(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bars != nil {
		if r.percent != nil {
			r.bars.total.percent.Store(1 + r.percentLocked())
		}
		r.bars.update(r.active, &r.sum, now)
		return
	}
	r.tellPercentLocked()
	for _, b := range r.active {
		if r.events != nil {
			r.events.progress(b, now)
		} else if b.due(now) {
			r.writeLocked(b.prefix, b.heartbeat(now))
		}
	}
}
