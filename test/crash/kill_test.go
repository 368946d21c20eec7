package crash_test

import (
	"math/rand/v2"
	"path/filepath"
	"testing"
	"time"

	"osbuild-containers/test/calls"
	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

// Killed at random moments, again and again, until it is done: never is anything wrong visible, and
// what was downloaded once is not downloaded again.
func TestKilledAgainAndAgain(t *testing.T) {
	shared := images.New(images.Layers(2, 1<<20)).Layers
	imgs := []*images.Image{
		images.New(images.Use(shared...), images.Layers(3, 1<<20), images.Layer(3000)),
		images.New(images.Seed(1), images.Use(shared...), images.Layers(2, 1<<20)),
	}
	f, name := serve(t, imgs[0], imgs[1])
	size := images.New(images.Use(imgs[0].Layers...), images.Use(imgs[1].Layers...)).Size()
	f.On(registry.Get("/blobs/"), registry.Drip(3<<19))
	cache := newCache(t)
	kills, seen := 0, 0
	for {
		r := start(t, skopeo, request(cache, name, imgs...))
		timer := time.AfterFunc(time.Duration(20+rand.IntN(200))*time.Millisecond, func() { r.cmd.Process.Kill() })
		status, _ := r.wait()
		timer.Stop()
		if n := verify(t, cache, imgs...); n < seen {
			t.Error("something that was published is gone")
		} else {
			seen = n
		}
		if t.Failed() {
			t.Fatalf("after %d kills", kills)
		}
		if status == 0 {
			break
		}
		if status != -1 {
			t.Fatalf("exit status %d:\n%s", status, r.log.String())
		}
		if kills++; kills > 200 {
			t.Fatal("it does not get on")
		}
	}
	wantAll(t, cache, imgs...)
	sent := f.BytesSent("/blobs/")
	t.Logf("%d kills, %d bytes of %d over the wire", kills, sent, size)
	if kills < 5 {
		t.Errorf("only %d kills", kills)
	}
	if sent > size+size/10+int64(kills)*(64<<10) {
		t.Errorf("%d bytes of %d were sent", sent, size)
	}
}

// Killed just before a system call that changes the cache, each one in turn (but a few of the many
// writes), from the first to the last of a run.
func TestKilledAtChosenCalls(t *testing.T) {
	img := images.New(images.Layer(300_000), images.Layer(2000))
	list := images.NewList(images.Of(img))
	_, name := serve(t, list)
	for source, req := range map[string]func(cache string) object{
		skopeo: func(cache string) object { return request(cache, name, img) },
		index:  func(cache string) object { return listRequest(cache, name, list) },
	} {
		t.Run(source, func(t *testing.T) {
			t.Parallel()
			const stride = 2
			for n := 1 + rand.IntN(stride); ; n += stride {
				cache := newCache(t)
				r := prepare(t, source, req(cache))
				at, seen := "", 0
				w := calls.Start(t, r.cmd, func(c calls.Call) calls.Verdict {
					if !c.Below(filepath.Dir(cache)) {
						return calls.Continue
					}
					if seen++; seen != n {
						return calls.Continue
					}
					at = c.String()
					return calls.Kill
				}, calls.Changing...)
				err := w.Wait()
				verify(t, cache, img)
				if at == "" {
					if err != nil || n < 10 {
						t.Errorf("it ended after %d calls with %v:\n%s", seen, err, r.log.String())
					}
					return
				}
				fetch(t, source, req(cache))
				if verify(t, cache, img) != 1 {
					t.Error("it is not published")
				}
				if wantNothingLeft(t, cache, true); t.Failed() {
					t.Fatalf("killed at call %d, %s", n, at)
				}
			}
		})
	}
}
