package progress

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"osbuild-containers/internal/answer"
)

// maxErrorLines limits how many lines of one error are written.
const maxErrorLines = 20

// Item is one thing to fetch: an image or a manifest list.
type Item struct {
	r      *Reporter
	prefix string           // "name: "
	short  string           // fits into a bar
	ref    answer.EventItem // identifies it in events

	// Guarded by the Reporter's lock.
	started bool    // or it ended without being started
	blobs   []*Blob // until the end
}

// Summary describes an item that is complete.
type Summary struct {
	Bytes    int64         // received from the network, in all attempts
	Reused   int64         // not downloaded: in the pool, or left by an earlier run
	Elapsed  time.Duration // from start to end
	Attempts int           // 1 if the first one succeeded
	Cached   bool          // the item was in the cache already
	Sent     bool          // Bytes were sent to a registry, which already had Reused
}

// Item returns an item that is called name in every line. A digest in the name should be shortened with Short.
func (r *Reporter) Item(name string) *Item {
	if r == nil {
		return nil
	}
	name = string(cut([]byte(Clean(name)), maxName))
	return &Item{r: r, prefix: name + ": ", short: shortName(name), ref: answer.EventItem{Reference: name}}
}

// Pinned returns the item with that name and pinned digest. Events also have its key: the id of an image, or the
// digest of a manifest list.
func (r *Reporter) Pinned(name, digest, key string) *Item {
	if r == nil {
		return nil
	}
	i := r.Item(name + "@" + Short(digest))
	i.ref = pinnedRef(name, digest, key)
	return i
}

// For adds the platform to the name of the item in every line, to tell it from others with that name. It must be the
// first call for the item.
func (i *Item) For(platform string) {
	if i == nil || platform == "" {
		return
	}
	platform = strings.TrimPrefix(Clean(platform), "linux/")
	i.prefix = strings.TrimSuffix(i.prefix, ": ") + " " + platform + ": "
	i.short += " " + platform
}

// Note writes one line about the item.
func (i *Item) Note(format string, args ...any) {
	if i == nil {
		return
	}
	text := Clean(fmt.Sprintf(format, args...))
	i.r.mu.Lock()
	defer i.r.mu.Unlock()
	i.r.tellLocked(answer.NoteEvent{EventItem: i.ref, Text: text}, i.prefix, text)
}

// Start logs the start of fetching: what is fetched ("image sha256:0123abcd…"), its number of layers and its size
// in bytes; negative if unknown. A terminal shows only the bars.
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
	i.r.passLocked(answer.StartEvent{EventItem: i.ref, Layers: layers, Size: max(bytes, 0)}, i.prefix, text)
}

// Done logs that the item is complete.
func (i *Item) Done(s Summary) {
	if i == nil {
		return
	}
	text := "done: in the cache already"
	if !s.Cached {
		text = "done" + s.parts()
	}
	i.end(answer.DoneEvent{
		EventItem: i.ref, Cached: s.Cached, Bytes: s.Bytes, Reused: s.Reused,
		Seconds: inSeconds(s.Elapsed), Attempts: s.Attempts,
	}, text)
}

// parts lists what is not zero of a summary, and attempts only if there were several.
func (s Summary) parts() string {
	var parts []string
	switch {
	case s.Bytes > 0 && s.Sent:
		parts = append(parts, Bytes(s.Bytes)+" sent")
	case s.Bytes > 0:
		parts = append(parts, Bytes(s.Bytes)+" downloaded")
	}
	switch {
	case s.Reused > 0 && s.Sent:
		parts = append(parts, "the registry had "+Bytes(s.Reused))
	case s.Reused > 0:
		parts = append(parts, Bytes(s.Reused)+" reused")
	}
	if took := seconds(s.Elapsed); took != seconds(0) {
		parts = append(parts, took)
	}
	if s.Attempts > 1 {
		parts = append(parts, strconv.Itoa(s.Attempts)+" attempts")
	}
	if len(parts) == 0 {
		return ""
	}
	return ": " + strings.Join(parts, ", ")
}

// Copied logs that the item was copied or written, and how many bytes were copied.
func (i *Item) Copied(bytes int64, took time.Duration) {
	if i == nil {
		return
	}
	text := "done: " + Bytes(bytes) + " copied"
	if t := seconds(took); t != seconds(0) {
		text += ", " + t
	}
	i.end(answer.DoneEvent{EventItem: i.ref, Bytes: bytes, Seconds: inSeconds(took)}, text)
}

// Fail logs that the item could not be fetched, and why: the text of an error. Further lines of the text, such as a
// hint, are indented.
func (i *Item) Fail(why string) { i.fail(failedPrefix, why) }

// Interrupt is Fail for an item that was interrupted, which a log does not call a failure.
func (i *Item) Interrupt(why string) { i.fail("", why) }

// failedPrefix begins the line of an item that failed.
const failedPrefix = "failed: "

func (i *Item) fail(prefix, why string) {
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
	lines[0] = prefix + lines[0]
	i.end(answer.FailedEvent{EventItem: i.ref, Error: strings.ReplaceAll(why, "\n    ", "\n")}, lines...)
}

// end writes the last lines of the item together, and discards its blobs, since those that failed are not reported
// as done.
func (i *Item) end(e answer.Event, lines ...string) {
	i.r.mu.Lock()
	defer i.r.mu.Unlock()
	i.r.unwatchLocked(func(b *Blob) bool { return b.item == i })
	i.r.sum.end(i, e)
	i.blobs = nil
	if i.r.events != nil {
		i.r.events.write(e)
		return
	}
	write := i.r.writeLocked
	if failed, ok := e.(answer.FailedEvent); ok {
		write = i.r.failLocked
		if i.r.repeatedLocked(failed.Error, lines[0]) {
			return
		}
	}
	for _, line := range lines {
		write(i.prefix, line)
	}
}
