package progress

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// terminalText is a terminal that does what bars need: it wraps, goes up and wipes
// a line. What else it is told stays visible as text, and fails the test.
type terminalText struct {
	mu         sync.Mutex
	cols, rows int
	lines      [][]rune // what was written, not wrapped; the cursor is in the last
}

func (t *terminalText) size() (int, int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.cols, t.rows
}

// resize wraps the content, as terminals do.
func (t *terminalText) resize(cols, rows int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cols, t.rows = cols, rows
}

func (t *terminalText) wrapped() []string {
	var rows []string
	for _, line := range t.lines {
		for len(line) > t.cols {
			rows = append(rows, string(line[:t.cols]))
			line = line[t.cols:]
		}
		rows = append(rows, string(line))
	}
	return rows
}

func (t *terminalText) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lines == nil {
		t.lines = [][]rune{nil}
	}
	s := string(p)
	for s != "" {
		if rest, ok := strings.CutPrefix(s, upAndClear); ok {
			// The rows above become lines of their own: one of them is wiped.
			rows := t.wrapped()
			t.lines = nil
			for _, row := range rows[:max(len(rows)-2, 0)] {
				t.lines = append(t.lines, []rune(row))
			}
			t.lines = append(t.lines, nil)
			s = rest
			continue
		}
		r := []rune(s)[0]
		s = s[len(string(r)):]
		last := len(t.lines) - 1
		switch r {
		case '\r':
			if len(t.lines[last]) > 0 {
				panic("carriage return over text")
			}
		case '\n':
			t.lines = append(t.lines, nil)
		default:
			t.lines[last] = append(t.lines[last], r)
		}
	}
	return len(p), nil
}

func (t *terminalText) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(t.wrapped(), "\n")
}

// onTerminal runs do with bars on a terminal of that size. The function see
// compares what a person sees there.
func onTerminal(t *testing.T, cols, rows int, do func(r *Reporter, tt *terminalText, see func(when, want string))) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		tt := &terminalText{cols: cols, rows: rows}
		r := NewLog(tt)
		r.bars, r.every = newBars(tt, tt.size), 200*time.Millisecond
		do(r, tt, func(when, want string) {
			t.Helper()
			synctest.Wait()
			if got, want := tt.String(), strings.TrimPrefix(want, "\n"); got != want {
				t.Errorf("%s\ngot:\n%s\nwant:\n%s", when, got, want)
			}
		})
		r.Close()
	})
}

func TestBars(t *testing.T) {
	onTerminal(t, 80, 24, func(r *Reporter, _ *terminalText, see func(when, want string)) {
		r.Note("2 images")
		i := r.Item("my.test/fedora/fedora:41")
		i.Start("image", 3, 1)
		config := i.Blob("config", 1, 1, "sha256:0000000011", 2_000_000)
		slow := i.Blob("layer", 2, 3, "sha256:0123abcd9999", 48_200_000)
		other := r.Item("example.com/postgresql-server-15:1").Blob("layer", 10, 12, "sha256:4567cdef99", -1)
		waits := i.Blob("layer", 3, 3, "sha256:89abcdef9999", 1_000_000_000)
		i.Blob("layer", 1, 3, "sha256:ffffffff", 1).Skip("reusing")
		config.Begin("downloading")
		slow.Begin("downloading")
		other.Begin("downloading")
		see("at once", `
2 images
`)
		waits.Waiting()
		config.Done()
		time.Sleep(300 * time.Millisecond)
		slow.Add(12_000_000)
		other.Add(300_000_000)
		time.Sleep(200 * time.Millisecond)
		see("half a second later", `
2 images
fedora 2/3 0123abcd…              [==>       ]    12.0 MB / 48.2 MB   60.0 MB/s
postgresql-serv… 10/12 4567cdef…                           300.0 MB    1.5 GB/s
fedora 3/3 89abcdef…              waiting for another process
`)
		slow.Retry(1, 6, 3*time.Second, errors.New("stalled"))
		time.Sleep(200 * time.Millisecond)
		other.Done()
		waits.Begin("downloading")
		slow.Add(1_000_000)
		waits.Add(160_000_000)
		time.Sleep(900 * time.Millisecond)
		see("after a retry", `
2 images
my.test/fedora/fedora:41: layer 2/3 sha256:0123abcd… 48.2 MB: attempt 1 of 6 fai
led, next in 3.0 s: stalled
fedora 2/3 0123abcd…              [==>       ]    13.0 MB / 48.2 MB   retry 2 s
fedora 3/3 89abcdef…              [=>        ]    160.0 MB / 1.0 GB  937.9 MB/s
`)
		slow.Done()
		waits.Done()
		i.Done(Summary{Bytes: 48_200_000, Elapsed: 7 * time.Second, Attempts: 2})
		r.Close()
		see("at the end", `
2 images
my.test/fedora/fedora:41: layer 2/3 sha256:0123abcd… 48.2 MB: attempt 1 of 6 fai
led, next in 3.0 s: stalled
my.test/fedora/fedora:41: done: 48.2 MB downloaded, 7.0 s, 2 attempts
`)
	})
}

func TestNoBarsWhenAllIsCached(t *testing.T) {
	onTerminal(t, 80, 24, func(r *Reporter, _ *terminalText, see func(when, want string)) {
		i := r.Item("my.test/fedora/fedora:41")
		i.Done(Summary{Cached: true})
		if r.bars.mpb != nil || r.stop != nil {
			t.Error("something runs, and nothing is downloaded")
		}
		see("at once", `
my.test/fedora/fedora:41: done: in the cache already
`)
	})
}

// A terminal that becomes narrower wraps the bars that it shows.
func TestBarsFitAfterAResize(t *testing.T) {
	onTerminal(t, 80, 24, func(r *Reporter, tt *terminalText, see func(when, want string)) {
		r.Note("one")
		i := r.Item("fedora")
		for n := range 3 {
			i.Blob("layer", n+1, 3, "sha256:0123abcd99", 2_000_000_000).Begin("downloading")
		}
		time.Sleep(500 * time.Millisecond)
		see("wide", `
one
fedora 1/3 0123abcd…  [>                     ]         0 B / 2.0 GB       0 B/s
fedora 2/3 0123abcd…  [>                     ]         0 B / 2.0 GB       0 B/s
fedora 3/3 0123abcd…  [>                     ]         0 B / 2.0 GB       0 B/s
`)
		tt.resize(30, 24)
		r.Note("two")
		time.Sleep(200 * time.Millisecond)
		see("narrow", `
one
two
fedora 1/3 0123abcd…  0 B / …
fedora 2/3 0123abcd…  0 B / …
fedora 3/3 0123abcd…  0 B / …
`)
		tt.resize(200, 24)
		time.Sleep(200 * time.Millisecond)
		see("wide again", `
one
two
fedora 1/3 0123abcd…  [>                     ]         0 B / 2.0 GB       0 B/s
fedora 2/3 0123abcd…  [>                     ]         0 B / 2.0 GB       0 B/s
fedora 3/3 0123abcd…  [>                     ]         0 B / 2.0 GB       0 B/s
`)
		r.Close() // given up: what was on its way leaves nothing
		see("at the end", `
one
two
`)
	})
}

func TestThereAreNoMoreBarsThanRoom(t *testing.T) {
	for rows, want := range map[int]int{50: maxBars, 8: 6, 2: 0} {
		onTerminal(t, 80, rows, func(r *Reporter, tt *terminalText, _ func(when, want string)) {
			i := r.Item("fedora")
			var blobs []*Blob
			for n := range 20 {
				b := i.Blob("layer", n+1, 20, fmt.Sprintf("sha256:%08d9", n), 1e9)
				b.Begin("downloading")
				blobs = append(blobs, b)
			}
			time.Sleep(time.Second)
			if got := strings.Count(tt.String(), "\n"); got != want {
				t.Errorf("%d rows: %d bars, want %d", rows, got, want)
			}
			tt.resize(80, 5)
			time.Sleep(200 * time.Millisecond)
			synctest.Wait()
			if got, want := strings.Count(tt.String(), "\n"), 3; got != want {
				t.Errorf("%d rows: %d bars when resized to 5 rows, want %d", rows, got, want)
			}
			tt.resize(80, rows)
			for _, b := range blobs[:15] {
				b.Done()
			}
			time.Sleep(time.Second)
			if got, want := strings.Count(tt.String(), "\n"), min(want, 5); got != want {
				t.Errorf("%d rows: %d bars when 5 layers are left, want %d", rows, got, want)
			}
		})
	}
}

func TestATerminalThatIsGoneStopsNothing(t *testing.T) {
	synctest.Test(t, func(*testing.T) {
		r := NewLog(io.Discard)
		r.bars, r.every = newBars(brokenWriter{}, func() (int, int) { return 80, 24 }), 200*time.Millisecond
		i := r.Item("fedora")
		for n := range 3 {
			i.Blob("layer", n+1, 3, digest, 1e9).Begin("downloading")
			time.Sleep(time.Second)
			i.Note("still here")
		}
		i.Done(Summary{})
		r.Close()
	})
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("input/output error") }

func TestNewBarsOnAPipeIsALog(t *testing.T) {
	var l lines
	r := NewBars(&l)
	layer(r.Item(name)).Begin("downloading")
	r.Close()
	if got, want := strings.Join(l.got, "\n"), layer3+"downloading"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
