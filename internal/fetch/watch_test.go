package fetch

import (
	"errors"
	"strings"
	"testing"
	"time"

	"osbuild-containers/internal/image"
	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

// TestPace: only bytes at the least rate are progress, and what came fast does not count for later.
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

// TestSlowAnswers: a pull-through cache fetches a layer before its first byte comes. That is not a stall,
// for any kind of answer, until the header time-out.
func TestSlowAnswers(t *testing.T) {
	t.Parallel()
	layer := layered.Layers[0]
	for name, at := range map[string]registry.Match{
		"first contact": registry.Get("^/v2/$").First(1),
		"manifest":      registry.Get("/manifests/").First(1),
		"config":        registry.Blob(string(layered.ID)).First(1),
		"layer":         registry.Blob(string(layer.Digest)).First(1),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, name := serve(t, layered)
			f.On(at, registry.Delay(2*time.Second))
			w := newWorld(t)
			w.options.StallTimeout, w.options.Retries = time.Second, 0
			w.images(itemOf(layered, name)).ok()
		})
	}
}

// TestPatienceGrows: each further try waits longer, within what the time-out leaves.
func TestPatienceGrows(t *testing.T) {
	w := newWorld(t)
	w.options.StallTimeout, w.options.HeaderTimeout, w.options.Timeout = time.Second, 4*time.Second, 11*time.Second
	s := &Sender{Options: w.options, Note: t.Logf}
	tries := s.tries()
	for n, want := range []time.Duration{4 * time.Second, 8 * time.Second, 11 * time.Second, 11 * time.Second} {
		tries.failed = n
		watch := tries.watch(t.Context())
		if got := watch.header.Round(time.Second); got != want {
			t.Errorf("try %d waits for %s, want %s", n, got, want)
		}
		_ = watch.stop(nil)
	}
	tries.it.pace.set(time.Minute)
	tries.began = time.Now().Add(-time.Minute)
	watch := tries.watch(t.Context())
	if watch.header != time.Second {
		t.Errorf("with no time left it waits for %s, want the stall time-out", watch.header)
	}
	_ = watch.stop(nil)
}

// TestAByteNowAndThen: less than the least rate is no progress, of whatever comes.
func TestAByteNowAndThen(t *testing.T) {
	t.Parallel()
	list := images.NewList(images.Of(layered))
	layer := layered.Layers[0]
	for name, at := range map[string]registry.Match{
		"layer":    registry.Blob(string(layer.Digest)),
		"manifest": registry.Manifest(string(list.Digest)),
		"instance": registry.Manifest(string(layered.Digest)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f, addr := serve(t, list)
			f.On(at, registry.Drip(20))
			w := newWorld(t)
			w.options.StallTimeout, w.options.Retries = time.Second, 0
			out := w.images(via(list, layered, addr))
			if got := out.Results[0]; got.Success || !strings.Contains(got.Error, "stalled: less than 1024 bytes a second for 1s") {
				t.Errorf("the result is %+v\n%s", got, out.Log)
			}
		})
	}
}

// TestATokenNowAndThen is the same for a token.
func TestATokenNowAndThen(t *testing.T) {
	t.Parallel()
	reg := registry.Start(t, registry.Token("", "", time.Minute))
	layered.Push(t, reg.URL, "a/b", images.Via(reg.Client()))
	reg.Token.On(registry.Any("/token"), registry.Drip(20))
	w := newWorld(t)
	w.options.StallTimeout, w.options.Retries = time.Second, 0
	out := w.images(itemOf(layered, reg.Addr+"/a/b"))
	if got := out.Results[0]; got.Success || !strings.Contains(got.Error, "stalled: less than 1024 bytes a second for 1s") {
		t.Errorf("the result is %+v\n%s", got, out.Log)
	}
}

// A reader that does something else meanwhile does not hide that a connection is slow.
func TestPausesDoNotHideSlowness(t *testing.T) {
	w := newWatch(t.Context(), time.Minute, 0)
	w.pace.set(30 * time.Second)
	for range 10 {
		w.pause()
		w.resume()
		w.moved(1)
	}
	if got := w.pace.behind(); got < 29*time.Second {
		t.Errorf("it is %s late, want 30s", got)
	}
	w.pace.set(2 * time.Minute)
	w.moved(1)
	<-w.Done()
	var stalled errStalled
	if err := w.stop(errors.New("x")); !errors.As(err, &stalled) || !stalled.bytes {
		t.Errorf("it ends with %v", err)
	}
	if class, _ := classify(stalled); class != image.Transient {
		t.Error("it is not tried again")
	}
}
