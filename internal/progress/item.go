package progress

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// maxErrorLines is how many lines of one error are written.
const maxErrorLines = 20

// Item is one thing to fetch: an image or a manifest list.
type Item struct {
	r      *Reporter
	prefix string  // "name: "
	short  string  // what a bar has room for
	ref    itemRef // what a program is told

	// Guarded by the Reporter's lock.
	started bool    // or it ended without
	size    int64   // what it needs in all, bytes; 0 until it started
	blobs   []*Blob // until it ends
}

// Summary describes an item that is complete.
type Summary struct {
	Bytes    int64         // came over the network, in all attempts
	Reused   int64         // needed no download: in the pool, or left by an earlier run
	Elapsed  time.Duration // from start to end
	Attempts int           // 1 when the first one went well; 0 is not mentioned
	Cached   bool          // the item was in the cache, nothing was done
	Sent     bool          // Bytes were sent to a registry, and Reused it had
}

// Item returns the item that is called name in every line. Its digest is best
// shortened, see Short.
func (r *Reporter) Item(name string) *Item {
	if r == nil {
		return nil
	}
	name = string(cut([]byte(Clean(name)), maxName))
	return &Item{r: r, prefix: name + ": ", short: shortName(name), ref: itemRef{Name: name}}
}

// Pinned returns the item of that name and pinned digest. A program is told key too: of an image its
// id, of a manifest list the digest.
func (r *Reporter) Pinned(name, digest, key string) *Item {
	if r == nil {
		return nil
	}
	i := r.Item(name + "@" + Short(digest))
	i.ref = pinnedRef(name, digest, key)
	return i
}

// Note writes one line about the item.
func (i *Item) Note(format string, args ...any) {
	if i == nil {
		return
	}
	text := Clean(fmt.Sprintf(format, args...))
	i.r.mu.Lock()
	defer i.r.mu.Unlock()
	i.r.tellLocked(noteEvent{itemRef: i.ref, Text: text}, i.prefix, text)
}

// Start logs what is fetched: what it is ("image sha256:0123abcd…"), how many
// layers it has and how many bytes they are; negative if unknown.
// A terminal shows the bars instead.
func (i *Item) Start(what string, layers int, bytes int64) {
	if i == nil {
		return
	}
	text := Clean(what)
	switch {
	case layers == 1:
		text += ", 1 layer"
	case layers > 1:
		text += ", " + strconv.Itoa(layers) + " layers"
	}
	if bytes >= 0 {
		text += ", " + Bytes(bytes)
	}
	i.r.mu.Lock()
	defer i.r.mu.Unlock()
	i.r.sum.start(i, bytes)
	i.r.passLocked(startEvent{itemRef: i.ref, Layers: layers, Size: max(bytes, 0)}, i.prefix, text)
}

// Done logs that the item is complete, in one line.
func (i *Item) Done(s Summary) {
	if i == nil {
		return
	}
	text := "done: " + Bytes(s.Bytes) + " downloaded, " + Bytes(s.Reused) + " reused, " + seconds(s.Elapsed)
	switch {
	case s.Cached:
		text = "done: in the cache already"
	case s.Sent:
		text = "done: " + Bytes(s.Bytes) + " sent, the registry had " + Bytes(s.Reused) + ", " + seconds(s.Elapsed)
	case s.Attempts == 1:
		text += ", 1 attempt"
	case s.Attempts > 1:
		text += ", " + strconv.Itoa(s.Attempts) + " attempts"
	}
	i.end(doneEvent{
		itemRef: i.ref, Cached: s.Cached, Bytes: s.Bytes, Reused: s.Reused,
		Seconds: inSeconds(s.Elapsed), Attempts: s.Attempts,
	}, text)
}

// Copied logs in one line that the item was copied or written, and how many bytes were copied for it.
func (i *Item) Copied(bytes int64, took time.Duration) {
	if i == nil {
		return
	}
	i.end(doneEvent{itemRef: i.ref, Bytes: bytes, Seconds: inSeconds(took)}, "done: "+Bytes(bytes)+" copied, "+seconds(took))
}

// Fail logs that the item could not be fetched, and why: the text of an error. Its further lines, as of a hint, are
// indented.
func (i *Item) Fail(why string) {
	if i == nil {
		return
	}
	var lines []string
	for line := range strings.Lines(strings.TrimSpace(why)) {
		if line = Clean(line); len(lines) > 0 {
			line = "    " + line
		}
		lines = append(lines, line)
	}
	if more := len(lines) - maxErrorLines; more > 0 {
		lines = append(lines[:maxErrorLines], "    … and "+strconv.Itoa(more)+" more lines")
	}
	if len(lines) == 0 {
		lines = []string{"no reason given"}
	}
	why = strings.Join(lines, "\n")
	lines[0] = "failed: " + lines[0]
	i.end(failedEvent{itemRef: i.ref, Error: strings.ReplaceAll(why, "\n    ", "\n")}, lines...)
}

// end writes the last lines of the item, together, and forgets its blobs: those
// that were given up were never reported as done.
func (i *Item) end(e event, lines ...string) {
	i.r.mu.Lock()
	defer i.r.mu.Unlock()
	i.r.unwatchLocked(func(b *Blob) bool { return b.item == i })
	i.r.sum.end(i, e)
	i.blobs = nil
	if i.r.events != nil {
		i.r.events.write(e)
		return
	}
	for _, line := range lines {
		i.r.writeLocked(i.prefix, line)
	}
}
