package answer

import "time"

// An Event is something that happened, one line of a stream. It is one of the types below.
type Event interface {
	Event() string // the value of the field event
}

// Events are all types of events, in the order of the documentation.
func Events() []Event {
	return []Event{
		BeginEvent{},
		StartEvent{},
		BlobEvent{},
		RetryEvent{},
		ProgressEvent{},
		NoteEvent{},
		DoneEvent{},
		FailedEvent{},
		PercentEvent{},
		UnpackedEvent{},
		EndEvent{},
	}
}

// EventsFile is the name of the schema of a line of a stream.
const EventsFile = "events.schema.json"

// EventHead begins each event.
type EventHead struct {
	Version Format    `json:"version"`
	Time    time.Time `json:"time"`  // when, in UTC, with milliseconds
	Event   string    `json:"event"` // which event it is
}

// EventItem is the image or the manifest list of an event.
type EventItem struct {
	Reference string `json:"reference,omitempty"` // name, as it was given
	Pinned    string `json:"pinned,omitempty"`    // digest by which it is fetched
	ID        string `json:"id,omitempty"`        // image id, or the digest of the list: the key of the item in a request of osbuild
}

// EventBlob is the blob of an event.
type EventBlob struct {
	EventItem
	Blob  string `json:"blob"`            // digest of the blob
	Kind  string `json:"kind"`            // config or layer; image, where the image as a whole is unpacked
	Index int    `json:"index,omitempty"` // number of a layer, from 1, the lowest
	Of    int    `json:"of,omitempty"`    // number of layers
	Size  int64  `json:"size"`            // bytes; 0 if that is not known
}

// The events of a fetch.
type (
	// BeginEvent is first, and comes again where manifest lists are fetched besides images.
	BeginEvent struct {
		Items int `json:"itemCount"` // how many are wanted
	}
	// StartEvent says what an item needs.
	StartEvent struct {
		EventItem
		Layers int   `json:"layerCount"` // how many layers it has
		Size   int64 `json:"size"`       // bytes of its config and all its layers; 0 if that is not known
	}
	// BlobEvent says that a blob got into another state.
	BlobEvent struct {
		EventBlob
		State string `json:"state"` // the state, see below
		Have  int64  `json:"have"`  // bytes that are present
	}
	// RetryEvent is a blob event with the state retrying.
	RetryEvent struct {
		BlobEvent
		Attempt int     `json:"attempt"` // number of the attempt that failed, from 1
		Wait    float64 `json:"wait"`    // seconds until the next
		Error   string  `json:"error"`   // why it failed
	}
	// ProgressEvent comes every second while a blob is downloaded or unpacked.
	ProgressEvent struct {
		EventBlob
		Have  int64 `json:"have"`  // bytes that are present
		Speed int64 `json:"speed"` // bytes in a second
	}
	// NoteEvent is something that a person may want to know, of an item or of none.
	NoteEvent struct {
		EventItem
		Text string `json:"text"` // one line
	}
	// DoneEvent says that an item is present, complete and verified. It comes once for each item, unless it failed.
	DoneEvent struct {
		EventItem
		Cached   bool    `json:"cached"`   // it was in the cache: nothing had to be done
		Bytes    int64   `json:"bytes"`    // bytes downloaded, in all attempts
		Reused   int64   `json:"reused"`   // bytes that needed no download
		Seconds  float64 `json:"seconds"`  // how long it took
		Attempts int     `json:"attempts"` // 1, and one more for each retry; 0 where there was none
	}
	// FailedEvent says that an item is not present, or was not unpacked. It comes once, unless the process was interrupted
	// before it began with the item.
	FailedEvent struct {
		EventItem
		Error string `json:"error"` // what went wrong, and the hint on a line of its own
	}
	// EndEvent is last, unless the process was killed.
	EndEvent struct {
		Items   int     `json:"itemCount"`   // how many were wanted
		Cached  int     `json:"cachedCount"` // how many were in the cache
		Failed  int     `json:"failedCount"` // how many are not present
		Bytes   int64   `json:"bytes"`       // bytes downloaded
		Reused  int64   `json:"reused"`      // bytes that needed no download
		Seconds float64 `json:"seconds"`     // how long it took
	}
)

// The events of unpack, besides those of a fetch.
type (
	// PercentEvent says that another percentage is done of all, of which the download is the first half.
	PercentEvent struct {
		Percent int64 `json:"percent"` // from 0 to 100
	}
	// UnpackedEvent says that the image is unpacked.
	UnpackedEvent struct {
		EventItem
		To      string  `json:"to"`      // absolute path
		Seconds float64 `json:"seconds"` // how long it took
	}
)

// Event returns "begin".
func (BeginEvent) Event() string { return "begin" }

// Event returns "start".
func (StartEvent) Event() string { return "start" }

// Event returns "blob".
func (BlobEvent) Event() string { return "blob" }

// Event returns "progress".
func (ProgressEvent) Event() string { return "progress" }

// Event returns "note".
func (NoteEvent) Event() string { return "note" }

// Event returns "done".
func (DoneEvent) Event() string { return "done" }

// Event returns "failed".
func (FailedEvent) Event() string { return "failed" }

// Event returns "end".
func (EndEvent) Event() string { return "end" }

// Event returns "percent".
func (PercentEvent) Event() string { return "percent" }

// Event returns "unpacked".
func (UnpackedEvent) Event() string { return "unpacked" }
