package crash_test

import (
	"fmt"
	"math/rand/v2"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"osbuild-containers/test/calls"
	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

// Killed at random moments until it completes: nothing wrong is ever visible, and no byte on disk is downloaded again.
func TestKilledAgainAndAgain(t *testing.T) {
	t.Parallel()
	shared := images.New(images.Layers(2, 1<<20)).Layers
	imgs := []*images.Image{
		images.New(images.Use(shared...), images.Layers(3, 1<<20), images.Layer(3000)),
		images.New(images.Seed(1), images.Use(shared...), images.Layers(2, 1<<20)),
	}
	f, name := serve(t, imgs[0], imgs[1])
	size := images.New(images.Use(imgs[0].Layers...), images.Use(imgs[1].Layers...)).Size()
	f.On(registry.Get("/blobs/"), registry.Drip(1<<20)) // six at a time: no five runs can be enough
	cache := newCache(t)
	kills, seen, asked := 0, 0, 0
	for {
		kept := keptBytes(cache)
		r := start(t, skopeo, request(cache, name, imgs...))
		// Later each time, since starting takes longer on a busy machine.
		timer := time.AfterFunc(time.Duration(20+rand.IntN(200)+3*kills)*time.Millisecond, func() { r.cmd.Process.Kill() })
		status, _ := r.wait()
		timer.Stop()
		if n := verify(t, cache, imgs...); n < seen {
			t.Error("something that was published is gone")
		} else {
			seen = n
		}
		requests := f.Matching(registry.Get("/blobs/"))
		for _, q := range requests[asked:] {
			var from int64
			_, _ = fmt.Sscanf(q.Range, "bytes=%d-", &from) // otherwise 0
			if blob := strings.TrimPrefix(path.Base(q.Path), "sha256:"); from < kept[blob] {
				t.Errorf("%s is asked for from byte %d on, %d are there", blob, from, kept[blob])
			}
		}
		if asked = len(requests); t.Failed() {
			t.Fatalf("after %d kills", kills)
		}
		if status == 0 {
			break
		}
		if status != -1 {
			t.Fatalf("exit status %d:\n%s", status, r.log.String())
		}
		if kills++; kills > 200 {
			t.Fatalf("no end after %d kills, with %d bytes of %d over the wire", kills, f.BytesSent("/blobs/"), size)
		}
	}
	wantAll(t, cache, imgs...)
	t.Logf("%d kills, %d bytes of %d over the wire", kills, f.BytesSent("/blobs/"), size)
	if kills < 5 {
		t.Errorf("only %d kills", kills)
	}
}

// Killed just before one in three of the system calls that change the cache, from the first to the last. internal/cache tests each
// of them.
func TestKilledAtChosenCalls(t *testing.T) {
	t.Parallel()
	img := images.New(images.Layer(300_000), images.Layer(2000))
	list := images.NewList(images.Of(img))
	_, name := serve(t, list)
	for source, req := range map[string]func(cache string) object{
		skopeo: func(cache string) object { return request(cache, name, img) },
		index:  func(cache string) object { return listRequest(cache, name, list) },
	} {
		t.Run(source, func(t *testing.T) {
			t.Parallel()
			const stride = 3
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
					if err != nil || n < 5 {
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
