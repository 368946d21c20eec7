package progress

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// eventsVersion is the version of the format of events. Adding a field does not change it.
const eventsVersion = 1

const eventTime = "2006-01-02T15:04:05.000Z"

// NewEvents returns a Reporter that writes JSON to w, one object per line.
func NewEvents(w io.Writer) *Reporter {
	return &Reporter{events: &events{w: w}, every: time.Second}
}

// events is the output of a Reporter for programs. All methods are called under the Reporter's lock.
type events struct{ w io.Writer }

// event is one of the types below.
type event interface{ name() string }

// itemRef identifies the item of an event; it is empty if there is none.
type itemRef struct {
	Name   string `json:"name,omitempty"`
	Digest string `json:"digest,omitempty"` // the pinned digest
	ID     string `json:"id,omitempty"`     // the item's key
}

func pinnedRef(name, digest, key string) itemRef {
	return itemRef{string(cut([]byte(Clean(name)), maxName)), Clean(digest), Clean(key)}
}

// blobRef identifies the blob of an event.
type blobRef struct {
	itemRef
	Blob  string `json:"blob"`
	Kind  string `json:"kind"`            // layer or config
	Index int    `json:"index,omitempty"` // of a layer, counted from 1
	Of    int    `json:"of,omitempty"`    // number of layers
	Size  int64  `json:"size"`
}

type (
	beginEvent struct {
		Items int `json:"items"`
	}
	noteEvent struct {
		itemRef
		Text string `json:"text"`
	}
	startEvent struct {
		itemRef
		Layers int   `json:"layers"`
		Size   int64 `json:"size"`
	}
	doneEvent struct {
		itemRef
		Cached   bool    `json:"cached"`
		Bytes    int64   `json:"bytes"`
		Reused   int64   `json:"reused"`
		Seconds  float64 `json:"seconds"`
		Attempts int     `json:"attempts"`
	}
	failedEvent struct {
		itemRef
		Error string `json:"error"`
	}
	blobEvent struct {
		blobRef
		State string `json:"state"`
		Have  int64  `json:"have"`
	}
	retryEvent struct {
		blobEvent
		Attempt int     `json:"attempt"`
		Wait    float64 `json:"wait"`
		Error   string  `json:"error"`
	}
	progressEvent struct {
		blobRef
		Have  int64 `json:"have"`
		Speed int64 `json:"speed"`
	}
	endEvent struct {
		Items   int     `json:"items"`
		Cached  int     `json:"cached"`
		Failed  int     `json:"failed"`
		Bytes   int64   `json:"bytes"`
		Reused  int64   `json:"reused"`
		Seconds float64 `json:"seconds"`
	}
)

func (beginEvent) name() string    { return "begin" }
func (noteEvent) name() string     { return "note" }
func (startEvent) name() string    { return "start" }
func (doneEvent) name() string     { return "done" }
func (failedEvent) name() string   { return "failed" }
func (blobEvent) name() string     { return "blob" }
func (progressEvent) name() string { return "progress" }
func (endEvent) name() string      { return "end" }

// write writes one event: the fields common to all events, and then its own.
func (s *events) write(e event) {
	line := fmt.Appendf(nil, `{"version":%d,"time":%q,"event":%q,`, eventsVersion, time.Now().UTC().Format(eventTime), e.name())
	var own bytes.Buffer
	enc := json.NewEncoder(&own)
	enc.SetEscapeHTML(false)
	if enc.Encode(e) != nil { // strings and numbers: it cannot fail
		return
	}
	_, _ = s.w.Write(append(line, own.Bytes()[1:]...))
}

// progress reports the progress of a download.
func (s *events) progress(b *Blob, now time.Time) {
	if s := state(b.state.Load()); s != downloading && s != unpacking {
		return
	}
	b.measure(now)
	s.write(progressEvent{b.ref, b.have.Load(), b.speed.Load()})
}

// event returns an event about the state of the blob.
func (b *Blob) event(state string) blobEvent {
	return blobEvent{b.ref, state, b.has()}
}

// stateName returns the name of a state in events. A download that starts with bytes present is "resumed".
func stateName(s state, have int64) string {
	switch {
	case s == downloading && have > 0:
		return "resuming"
	case s == downloading:
		return "downloading"
	case s == waiting:
		return "waiting"
	case s == unpacking:
		return "unpacking"
	case s == reused:
		return "reusing"
	}
	return "done"
}

func inSeconds(d time.Duration) float64 { return float64(d.Milliseconds()) / 1000 }
