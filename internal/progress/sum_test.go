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
all: 1 of 3 done                                            30.0 MB   50.0 MB/s
`)
		two.Start("image", 1, 40_000_000)
		l3 := two.Blob("layer", 1, 1, "sha256:3333333333", 40_000_000)
		l3.Begin("downloading")
		l1.Add(10_000_000)
		time.Sleep(400 * time.Millisecond)
		see("all are known", `
one 1/2 11111111…  [============>            ]    20.0 MB / 40.0 MB   43.8 MB/s
two 1/1 33333333…  [>                        ]        0 B / 40.0 MB       0 B/s
all: 1 of 3 done   [==========>              ]   40.0 MB / 100.0 MB   43.8 MB/s
`)
		two.Fail("gone")
		time.Sleep(200 * time.Millisecond)
		see("what failed is not waited for", `
my.test/a/two@sha256:89abcdef…: failed: gone
one 1/2 11111111…  [============>            ]    20.0 MB / 40.0 MB   38.3 MB/s
all: 2 of 3 done   [================>        ]    40.0 MB / 60.0 MB   38.3 MB/s
`)
		tt.resize(80, 3)
		time.Sleep(200 * time.Millisecond)
		see("there is room for one line", `
my.test/a/two@sha256:89abcdef…: failed: gone
one 1/2 11111111…  [============>            ]    20.0 MB / 40.0 MB   33.5 MB/s
`)
		tt.resize(80, 24)
		l1.Add(20_000_000)
		l1.Done()
		one.Done(Summary{Bytes: 40_000_000, Reused: 20_000_000, Elapsed: time.Second, Attempts: 1})
		time.Sleep(200 * time.Millisecond)
		see("all are done", `
my.test/a/two@sha256:89abcdef…: failed: gone
my.test/a/one@sha256:89abcdef…: done: 40.0 MB downloaded, 20.0 MB reused, 1.0 s
all: 3 of 3 done   [=========================]    60.0 MB / 60.0 MB       0 B/s
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
