package progress

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"osbuild-containers/internal/answer"
)

const (
	name   = "my.test/fedora/fedora@sha256:0123abcd…"
	digest = "sha256:89abcdef0123456789abcdef"
	layer3 = name + ": layer 3/7 sha256:89abcdef… 48.2 MB: "
)

// lines records what was written. A Write that is not a single line is marked.
type lines struct{ got []string }

func (l *lines) Write(p []byte) (int, error) {
	s, ok := strings.CutSuffix(string(p), "\n")
	if !ok || strings.Contains(s, "\n") {
		s = "NOT ONE LINE: " + s
	}
	l.got = append(l.got, s)
	return len(p), nil
}

func layer(i *Item) *Blob { return i.Blob("layer", 3, 7, digest, 48_200_000) }

func TestLog(t *testing.T) {
	for _, test := range []struct {
		promise string
		do      func(r *Reporter, i *Item)
		want    []string
	}{
		{"a note stands for itself", func(r *Reporter, _ *Item) {
			r.Note("%d images\nto fetch", 2)
		}, []string{"2 images to fetch"}},
		{"an item's note is named", func(_ *Reporter, i *Item) {
			i.Note("has no %s", "layers")
		}, []string{name + ": has no layers"}},
		{"a start says what and how much", func(_ *Reporter, i *Item) {
			i.Start("image sha256:4567cdef…", 7, 123_400_000)
			i.Start("image sha256:4567cdef…", 1, -1)
			i.Start("manifest list", 0, 2300)
		}, []string{
			name + ": image sha256:4567cdef…, 7 layers, 123.4 MB",
			name + ": image sha256:4567cdef…, 1 layer",
			name + ": manifest list, 2.3 kB",
		}},
		{"a layer has a line for its begin and one for its end", func(_ *Reporter, i *Item) {
			b := layer(i)
			b.Begin("downloading")
			b.Done()
			b.Done()
		}, []string{layer3 + "downloading", layer3 + "done"}},
		{"what is copied is said as such", func(_ *Reporter, i *Item) {
			b := layer(i)
			b.Begin("copying")
			b.Done()
			small := i.Blob("config", 0, 7, digest, 500)
			small.Begin("copying")
			small.Done()
			i.Copied(48_200_500, 1500*time.Millisecond)
		}, []string{
			layer3 + "copying", layer3 + "done", name + ": config sha256:89abcdef… 500 B: done", name + ": done: 48.2 MB copied, 1.5 s",
		}},
		{"what is there is not done twice", func(_ *Reporter, i *Item) {
			b := layer(i)
			b.Skip("reusing")
			b.Done()
		}, []string{layer3 + "reusing"}},
		{"a small blob has one line", func(_ *Reporter, i *Item) {
			b := i.Blob("config", 1, 1, digest, 7200)
			b.Begin("downloading")
			b.Done()
		}, []string{name + ": config sha256:89abcdef… 7.2 kB: done"}},
		{"an unknown size is not named", func(_ *Reporter, i *Item) {
			b := i.Blob("layer", 1, 2, digest, -1)
			b.Begin("downloading")
			b.Add(5_000_000)
			time.Sleep(5500 * time.Millisecond)
			b.Done()
		}, []string{
			name + ": layer 1/2 sha256:89abcdef…: downloading",
			name + ": layer 1/2 sha256:89abcdef…: 5.0 MB, 1.0 MB/s",
			name + ": layer 1/2 sha256:89abcdef…: done",
		}},
		{"each attempt is a line, and so is continuing", func(_ *Reporter, i *Item) {
			b := layer(i)
			b.Begin("downloading")
			b.Add(12_000_000)
			b.Retry(1, 6, 1500*time.Millisecond, errors.New("connection\nreset"))
			b.Resuming(12_000_000)
			b.Done()
		}, []string{
			layer3 + "downloading",
			layer3 + "attempt 1 of 6 failed, next in 1.5 s: connection reset",
			layer3 + "resuming at 12.0 MB",
			layer3 + "done",
		}},
		{"starting again is a line only when bytes are lost", func(_ *Reporter, i *Item) {
			b := layer(i)
			b.Resuming(12_000_000)
			b.Reset(12_000_000)
			b.Reset(0)
		}, []string{layer3 + "resuming at 12.0 MB", layer3 + "starting again at 0 B"}},
		{"a long download has a heartbeat, of the bytes since the last", func(_ *Reporter, i *Item) {
			b := layer(i)
			b.Resuming(12_000_000)
			time.Sleep(4900 * time.Millisecond)
			b.Add(10_000_000)
			time.Sleep(5 * time.Second)
			b.Add(15_000_000)
			time.Sleep(600 * time.Millisecond)
			b.Done()
			time.Sleep(time.Minute)
		}, []string{
			layer3 + "resuming at 12.0 MB",
			layer3 + "22.0 MB, 45 %, 2.0 MB/s",
			layer3 + "37.0 MB, 76 %, 3.0 MB/s",
			layer3 + "done",
		}},
		{"the speed does not count what was lost", func(_ *Reporter, i *Item) {
			b := layer(i)
			b.Resuming(40_000_000)
			time.Sleep(2 * time.Second)
			b.Reset(8_000_000)
			b.Add(10_000_000)
			time.Sleep(5200 * time.Millisecond)
		}, []string{
			layer3 + "resuming at 40.0 MB",
			layer3 + "starting again at 8.0 MB",
			layer3 + "18.0 MB, 37 %, 2.0 MB/s",
		}},
		{"heartbeats become rarer, down to two a minute", func(_ *Reporter, i *Item) {
			b := layer(i)
			b.Waiting()
			time.Sleep(3*time.Minute + time.Second/2)
		}, []string{
			layer3 + "waiting for another process",
			layer3 + "waiting for another process for 5.0 s",
			layer3 + "waiting for another process for 10.0 s",
			layer3 + "waiting for another process for 15.0 s",
			layer3 + "waiting for another process for 20.0 s",
			layer3 + "waiting for another process for 27.0 s",
			layer3 + "waiting for another process for 36.0 s",
			layer3 + "waiting for another process for 48.0 s",
			layer3 + "waiting for another process for 64.0 s",
			layer3 + "waiting for another process for 86.0 s",
			layer3 + "waiting for another process for 1m55s",
			layer3 + "waiting for another process for 2m25s",
			layer3 + "waiting for another process for 2m55s",
		}},
		{"no heartbeat while the next attempt is waited for", func(_ *Reporter, i *Item) {
			b := layer(i)
			b.Begin("downloading")
			b.Retry(2, 6, 20*time.Second, io.ErrUnexpectedEOF)
			time.Sleep(19 * time.Second)
		}, []string{layer3 + "downloading", layer3 + "attempt 2 of 6 failed, next in 20.0 s: unexpected EOF"}},
		{"a summary is one line", func(_ *Reporter, i *Item) {
			i.Done(Summary{Bytes: 75_200_000, Reused: 48_200_000, Elapsed: 12300 * time.Millisecond, Attempts: 1})
			i.Done(Summary{Elapsed: time.Hour, Attempts: 3})
			i.Done(Summary{})
			i.Done(Summary{Cached: true, Elapsed: time.Millisecond, Attempts: 1})
		}, []string{
			name + ": done: 75.2 MB downloaded, 48.2 MB reused, 12.3 s",
			name + ": done: 1h0m0s, 3 attempts",
			name + ": done",
			name + ": done: in the cache already",
		}},
		{"the hints of an error are indented", func(_ *Reporter, i *Item) {
			i.Fail("read manifest: unauthorized\nhint: log in\r")
			i.Fail("")
		}, []string{
			name + ": failed: read manifest: unauthorized",
			name + ":     hint: log in",
			name + ": failed: no reason given",
		}},
		{"a failed item's blobs are heard of no more", func(_ *Reporter, i *Item) {
			layer(i).Begin("downloading")
			i.Fail(io.ErrUnexpectedEOF.Error())
			time.Sleep(time.Minute)
		}, []string{layer3 + "downloading", name + ": failed: unexpected EOF"}},
		{"closing stops heartbeats, not lines", func(r *Reporter, i *Item) {
			layer(i).Begin("downloading")
			r.Close()
			layer(i).Begin("downloading")
			time.Sleep(time.Minute)
			i.Done(Summary{Cached: true})
		}, []string{layer3 + "downloading", layer3 + "downloading", name + ": done: in the cache already"}},
	} {
		t.Run(test.promise, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var l lines
				r := NewLog(&l)
				test.do(r, r.Item(name))
				r.Close()
				r.Close()
				if got, want := strings.Join(l.got, "\n"), strings.Join(test.want, "\n"); got != want {
					t.Errorf("\ngot:\n%s\nwant:\n%s", got, want)
				}
			})
		})
	}
}

func TestLinesAreShorterThanOsbuildCuts(t *testing.T) {
	var l lines
	r := NewLog(&l)
	r.Item(strings.Repeat("ö", 50_000)).Fail(strings.Repeat(strings.Repeat("ü", 50_000)+"\n", 50))
	if got := len(l.got); got != maxErrorLines+1 {
		t.Errorf("%d lines, want %d", got, maxErrorLines+1)
	}
	for _, line := range l.got {
		if len(line) > maxLine || strings.ToValidUTF8(line, "?") != line {
			t.Errorf("line of %d bytes ends in %q", len(line), line[len(line)-8:])
		}
	}
	if last, want := l.got[len(l.got)-1], "    … and 30 more lines"; !strings.HasSuffix(last, want) {
		t.Errorf("last line ends in %q, want %q", last[len(last)-30:], want)
	}
}

func TestNothingRunsBeforeABlobIsActive(t *testing.T) {
	r := NewLog(io.Discard)
	i := r.Item(name)
	i.Start("image", 1, 1)
	layer(i).Skip("reusing")
	i.Done(Summary{Cached: true})
	if r.stop != nil {
		t.Error("a ticker runs, and nothing is downloaded")
	}
	layer(i).Begin("downloading")
	if r.stop == nil {
		t.Error("no ticker runs, and a layer is downloaded")
	}
	r.Close()
}

func TestNilTellsNobody(t *testing.T) {
	var r *Reporter
	r.Note("x")
	i := r.Item(name)
	i.Note("x")
	i.Start("x", 1, 1)
	b := layer(i)
	b.Begin("downloading")
	b.Resuming(1)
	b.Skip("reusing")
	b.Waiting()
	b.Add(1)
	b.Reset(0)
	b.Retry(1, 0, 0, io.EOF)
	b.Done()
	i.Done(Summary{})
	i.Fail(io.EOF.Error())
	r.Close()
	if i != nil || b != nil {
		t.Error("a nil Reporter has items")
	}
}

func TestAddDoesNotAllocate(t *testing.T) {
	b := layer(NewLog(io.Discard).Item(name))
	if n := testing.AllocsPerRun(100, func() { b.Add(1) }); n != 0 {
		t.Errorf("Add allocates %v times", n)
	}
}

// BenchmarkLog is all the lines of an image with a hundred layers.
func BenchmarkLog(b *testing.B) {
	for b.Loop() {
		r := NewLog(io.Discard)
		i := r.Item(name)
		i.Start("image "+Short(digest), 100, 1e9)
		for n := range 100 {
			blob := i.Blob("layer", n+1, 100, fmt.Sprintf("sha256:%064d", n), 10e6)
			blob.Begin("downloading")
			blob.Done()
		}
		i.Done(Summary{Bytes: 1e9, Elapsed: time.Second, Attempts: 1})
		r.Close()
	}
}

// What many images claim together is not counted past the largest number.
func TestSumsDoNotOverflow(t *testing.T) {
	var s sum
	for n := range 3 {
		i := &Item{}
		s.start(i, math.MaxInt64/2)
		b := &Blob{item: i, size: math.MaxInt64 / 2, ref: answer.EventBlob{Blob: string(rune('a' + n)), Size: math.MaxInt64 / 2}}
		b.state.Store(int32(done))
		s.enter(b, downloading)
		s.enter(b, done)
		s.end(i, answer.DoneEvent{Bytes: math.MaxInt64 / 2, Reused: math.MaxInt64 / 2})
	}
	if have, size := s.progress(); have != math.MaxInt64 || size != math.MaxInt64 || s.bytes != math.MaxInt64 || s.reused != math.MaxInt64 {
		t.Errorf("got %d of %d, %d and %d", have, size, s.bytes, s.reused)
	}
}
