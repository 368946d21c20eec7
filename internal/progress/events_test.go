package progress

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestEvents is the reference of what docs/json.md says.
func TestEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l lines
		r := NewEvents(&l)
		r.Begin(4)
		r.Note("no policy.json")
		r.Cached("my.test/a/there", "sha256:11", "sha256:22")
		i := r.Pinned("my.test/a/b", digest, "sha256:cafe")
		i.Note("manifest: attempt %d failed", 1)
		i.Start("image sha256:cafe", 2, 48_207_200)
		config, b := i.Blob("config", 0, 2, "sha256:cafe", 7200), i.Blob("layer", 2, 2, digest, 48_200_000)
		config.Skip("reusing")
		config.Done()
		b.Waiting()
		b.Begin("downloading")
		b.Add(1_000_000)
		time.Sleep(1100 * time.Millisecond)
		b.Retry(1, 6, 1500*time.Millisecond, errors.New("connection\nreset"))
		b.Resuming(1_000_000)
		b.Reset(0)
		b.Done()
		i.Done(Summary{Bytes: 48_200_000, Reused: 7200, Elapsed: 7 * time.Second, Attempts: 2})
		r.Pinned("my.test/a/c", digest, "sha256:dead").Fail("it is gone\nlook <elsewhere>")
		r.Item("other").Done(Summary{Cached: true})
		r.Close()
		r.End()

		const head = `{"version":1,"time":"2000-01-01T00:00:00.000Z","event":`
		const ref = `"reference":"my.test/a/b","pinned":"` + digest + `","id":"sha256:cafe"`
		const blob = ref + `,"blob":"` + digest + `","kind":"layer","index":2,"of":2,"size":48200000`
		want := []string{
			`"begin","itemCount":4}`,
			`"note","text":"no policy.json"}`,
			`"done","reference":"my.test/a/there","pinned":"sha256:11","id":"sha256:22","cached":true,"bytes":0,"reused":0,"seconds":0,"attempts":0}`,
			`"note",` + ref + `,"text":"manifest: attempt 1 failed"}`,
			`"start",` + ref + `,"layerCount":2,"size":48207200}`,
			`"blob",` + ref + `,"blob":"sha256:cafe","kind":"config","size":7200,"state":"reusing","have":7200}`,
			`"blob",` + blob + `,"state":"waiting","have":0}`,
			`"blob",` + blob + `,"state":"downloading","have":0}`,
			`"progress",` + blob + `,"have":1000000,"speed":1000000}`,
			`"blob",` + blob + `,"state":"retrying","have":1000000,"attempt":1,"wait":1.5,"error":"connection reset"}`,
			`"blob",` + blob + `,"state":"resuming","have":1000000}`,
			`"blob",` + blob + `,"state":"restarting","have":0}`,
			`"blob",` + blob + `,"state":"done","have":48200000}`,
			`"done",` + ref + `,"cached":false,"bytes":48200000,"reused":7200,"seconds":7,"attempts":2}`,
			`"failed","reference":"my.test/a/c","pinned":"` + digest + `","id":"sha256:dead","error":"it is gone\nlook <elsewhere>"}`,
			`"done","reference":"other","cached":true,"bytes":0,"reused":0,"seconds":0,"attempts":0}`,
			`"end","itemCount":4,"cachedCount":2,"failedCount":1,"bytes":48200000,"reused":7200,"seconds":1.1}`,
		}
		if len(l.got) != len(want) {
			t.Errorf("%d events, want %d", len(l.got), len(want))
		}
		for n := range min(len(l.got), len(want)) {
			got := strings.NewReplacer("00:00:01.100Z", "00:00:00.000Z", "00:00:01.000Z", "00:00:00.000Z").Replace(l.got[n])
			if got != head+want[n] {
				t.Errorf("event %d is\n\t%s\nwant\n\t%s", n, got, head+want[n])
			}
			if !json.Valid([]byte(l.got[n])) {
				t.Errorf("not JSON: %s", l.got[n])
			}
		}
	})
}

func TestEventsAreCleanToo(t *testing.T) {
	var l lines
	r := NewEvents(&l)
	i := r.Pinned("a\x1b[31m", "sha256:\x07", "\xff")
	i.Note("Authorization: Bearer %s", "secret")
	i.Blob("layer", 1, 1, "\x00", 1).Retry(1, 0, 0, errors.New("https://ann:secret@example.com/"))
	i.Fail("https://ann:secret@example.com/\nAuthorization: Basic secret")
	r.Close()
	for _, line := range l.got {
		if strings.Contains(line, "secret") || strings.ContainsAny(line, "\x1b\x07\x00") || strings.Contains(line, `\u00`) {
			t.Errorf("%s", line)
		}
	}
	if len(l.got) != 3 {
		t.Errorf("%d events", len(l.got))
	}
}

// The end of what failed before anything began has a time that makes sense, too.
func TestEndOfNothing(t *testing.T) {
	var l lines
	NewEvents(&l).End()
	if len(l.got) != 1 || !strings.Contains(l.got[0], `"seconds":0}`) && !strings.Contains(l.got[0], `"seconds":0.00`) {
		t.Errorf("got %s", l.got)
	}
}
