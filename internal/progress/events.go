package progress

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"osbuild-containers/internal/answer"
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

func pinnedRef(name, digest, key string) answer.EventItem {
	return answer.EventItem{Reference: string(cut([]byte(Clean(name)), maxName)), Pinned: Clean(digest), ID: Clean(key)}
}

// write writes one event: the fields common to all events, and then its own.
func (s *events) write(e answer.Event) {
	line := fmt.Appendf(nil, `{"version":%d,"time":%q,"event":%q,`, eventsVersion, time.Now().UTC().Format(eventTime), e.Event())
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
	s.write(answer.ProgressEvent{EventBlob: b.ref, Have: b.have.Load(), Speed: b.speed.Load()})
}

// event returns an event about the state of the blob.
func (b *Blob) event(state string) answer.BlobEvent {
	return answer.BlobEvent{EventBlob: b.ref, State: state, Have: b.has()}
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
