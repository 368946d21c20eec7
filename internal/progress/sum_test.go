package progress

import (
	"testing"
	"time"
)

func TestTheLastBarIsThatOfAll(t *testing.T) {
	onTerminal(t, 80, 24, func(r *Reporter, tt *terminalText, see func(when, want string)) {
		r.Begin(2)
		r.Begin(1)
		r.Cached("my.test/a/there", digest, digest)
		one, two := r.Pinned("my.test/a/one", digest, digest), r.Pinned("my.test/a/two", digest, digest)
		one.Start("image", 2, 60_000_000)
		l1, l2 := one.Blob("layer", 1, 2, "sha256:1111111111", 40_000_000), one.Blob("layer", 2, 2, "sha256:2222222222", 20_000_000)
		l1.Begin("downloading")
		l2.Skip("reusing")
		time.Sleep(300 * time.Millisecond)
		l1.Add(10_000_000)
		time.Sleep(100 * time.Millisecond)
		see("one is not known yet", `
one 1/2 11111111…  [======>                  ]    10.0 MB / 40.0 MB   50.0 MB/s
all: 1 of 3 done                                            10.0 MB   50.0 MB/s
`)
		two.Start("image", 1, 40_000_000)
		l3 := two.Blob("layer", 1, 1, "sha256:3333333333", 40_000_000)
		l3.Begin("downloading")
		l1.Add(10_000_000)
		time.Sleep(400 * time.Millisecond)
		see("all are known", `
one 1/2 11111111…     [===========>          ]    20.0 MB / 40.0 MB   43.8 MB/s
two 1/1 33333333…     [>                     ]        0 B / 40.0 MB       0 B/s
all: 1 of 3, 2s left  [=====>                ]    20.0 MB / 80.0 MB   43.8 MB/s
`)
		two.Fail("gone")
		time.Sleep(200 * time.Millisecond)
		see("what failed is not waited for", `
my.test/a/two@sha256:89abcdef…: failed: gone
one 1/2 11111111…     [===========>          ]    20.0 MB / 40.0 MB   38.3 MB/s
all: 2 of 3, 1s left  [===========>          ]    20.0 MB / 40.0 MB   38.3 MB/s
`)
		tt.resize(80, 3)
		time.Sleep(200 * time.Millisecond)
		see("there is room for one line", `
my.test/a/two@sha256:89abcdef…: failed: gone
one 1/2 11111111…     [===========>          ]    20.0 MB / 40.0 MB   33.5 MB/s
`)
		tt.resize(80, 24)
		l1.Add(20_000_000)
		l1.Done()
		one.Done(Summary{Bytes: 40_000_000, Reused: 20_000_000, Elapsed: time.Second, Attempts: 1})
		time.Sleep(200 * time.Millisecond)
		see("all are done", `
my.test/a/two@sha256:89abcdef…: failed: gone
my.test/a/one@sha256:89abcdef…: done: 40.0 MB downloaded, 20.0 MB reused, 1.0 s
all: 3 of 3 done      [======================]    40.0 MB / 40.0 MB       0 B/s
`)
		r.Close()
		see("at the end", `
my.test/a/two@sha256:89abcdef…: failed: gone
my.test/a/one@sha256:89abcdef…: done: 40.0 MB downloaded, 20.0 MB reused, 1.0 s
`)
	})
}

func TestALogDoesNotCount(t *testing.T) {
	var l lines
	r := NewLog(&l)
	r.Begin(2)
	r.Cached("a", digest, digest)
	r.End()
	r.Close()
	if l.got != nil {
		t.Errorf("got %q", l.got)
	}
	var none *Reporter
	none.Begin(1)
	none.Cached("a", digest, digest)
	none.Pinned("a", digest, digest).Start("image", 1, 1)
	none.End()
}

// TestTheTotalIsWhatIsTransferred: a layer of several images counts once, and what the cache has does not count.
func TestTheTotalIsWhatIsTransferred(t *testing.T) {
	t.Parallel()
	var l lines
	r := NewLog(&l)
	defer r.Close()
	r.Begin(3)
	total := func(when string, have, size int64) {
		t.Helper()
		if h, s := r.sum.progress(); h != have || s != size {
			t.Errorf("%s: %d of %d bytes, want %d of %d", when, h, s, have, size)
		}
	}
	item := func(name string, own string) (item *Item, shared, alone *Blob) {
		item = r.Item(name)
		item.Start("image", 2, 110)
		return item, item.Blob("layer", 1, 2, "sha256:11", 100), item.Blob("layer", 2, 2, own, 10)
	}
	one, a, b := item("one", "sha256:22")
	total("not all have begun", 0, -1)
	two, c, d := item("two", "sha256:33")
	three, e, f := item("three", "sha256:44")
	total("all have begun", 0, 130)
	a.Begin("downloading")
	c.Waiting()
	e.Waiting()
	a.Add(60)
	b.Skip("reusing")
	total("while one downloads", 60, 120)
	one.Fail("gone")
	total("one has failed", 0, 20)
	c.Resuming(60)
	total("another one downloads", 60, 120)
	c.Add(40)
	c.Done()
	e.Skip("reusing")
	d.Begin("downloading")
	d.Add(10)
	d.Done()
	two.Done(Summary{})
	f.Skip("reusing")
	three.Done(Summary{})
	total("at the end", 110, 110)
	for _, c := range []struct {
		have, size, speed int64
		want              time.Duration
	}{{0, 100, 0, 0}, {100, 100, 5, 0}, {0, -1, 5, 0}, {40, 100, 7, 9 * time.Second}, {0, 1 << 62, 1, 0}} {
		if got := timeLeft(c.have, c.size, c.speed); got != c.want {
			t.Errorf("%+v: %s left", c, got)
		}
	}
}

// TestTheTimeLeftIsThatOfTheSlowest: connections may be slow one by one, so the sum of their speeds does not last.
func TestTheTimeLeftIsThatOfTheSlowest(t *testing.T) {
	t.Parallel()
	var l lines
	r := NewLog(&l)
	defer r.Close()
	r.Begin(1)
	item := r.Item("one")
	item.Start("image", 2, 110)
	long, short := item.Blob("layer", 1, 2, "sha256:11", 100), item.Blob("layer", 2, 2, "sha256:22", 10)
	for _, b := range []*Blob{long, short} {
		b.Begin("downloading")
		b.speed.Store(5)
	}
	var all total
	all.measure(&r.sum, []*Blob{long, short})
	if got, want := *all.label.Load(), "all: 0 of 1, 20s left"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
