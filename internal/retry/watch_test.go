package retry

import (
	"errors"
	"testing"
	"time"
)

// TestPace checks that only bytes at the lowest rate are progress, and that a fast start earns no credit.
func TestPace(t *testing.T) {
	for name, c := range map[string]struct {
		late  time.Duration
		bytes []int64
		want  time.Duration // within a second
	}{
		"nothing":                {time.Minute, nil, time.Minute},
		"a byte now and then":    {time.Minute, []int64{1, 1, 1}, time.Minute},
		"half of it":             {time.Minute, []int64{30 * leastRate}, 30 * time.Second},
		"all of it":              {time.Minute, []int64{leastRate, 59 * leastRate}, 0},
		"more than that":         {time.Minute, []int64{1 << 62, 1 << 62}, 0},
		"on time from the start": {0, []int64{1 << 40}, 0},
	} {
		var p pace
		p.set(c.late)
		for _, n := range c.bytes {
			p.moved(n)
		}
		if got := p.behind(); got < c.want-time.Second || got > c.want+time.Second {
			t.Errorf("%s: it is %s late, want %s", name, got, c.want)
		}
	}
}

// TestPatienceGrows checks that each further try waits longer, within the timeout.
func TestPatienceGrows(t *testing.T) {
	p := policy()
	p.Stall, p.Header, p.Timeout = time.Second, 4*time.Second, 11*time.Second
	g := NewGroup(p)
	op := g.New(nil)
	for n, want := range []time.Duration{4 * time.Second, 8 * time.Second, 11 * time.Second, 11 * time.Second} {
		op.failed = n
		watch := op.Watch(t.Context())
		if got := watch.header.Round(time.Second); got != want {
			t.Errorf("try %d waits for %s, want %s", n, got, want)
		}
		_ = watch.Stop(nil)
	}
	g.pace.set(time.Minute)
	op.began = time.Now().Add(-time.Minute)
	watch := op.Watch(t.Context())
	if watch.header != time.Second {
		t.Errorf("with no time left it waits for %s, want the stall time-out", watch.header)
	}
	_ = watch.Stop(nil)
}

// A reader that pauses does not hide that a connection is slow.
func TestPausesDoNotHideSlowness(t *testing.T) {
	w := newWatch(t.Context(), time.Minute, 0)
	w.pace.set(30 * time.Second)
	for range 10 {
		w.Pause()
		w.Resume()
		w.Moved(1)
	}
	if got := w.pace.behind(); got < 29*time.Second {
		t.Errorf("it is %s late, want 30s", got)
	}
	w.pace.set(2 * time.Minute)
	w.Moved(1)
	<-w.Done()
	var stalled StallError
	if err := w.Stop(errors.New("x")); !errors.As(err, &stalled) || !stalled.Bytes {
		t.Errorf("it ends with %v", err)
	}
}
