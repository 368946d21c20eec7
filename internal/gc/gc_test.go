package gc

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/cacheinfo"
	"osbuild-containers/internal/fetch"
	"osbuild-containers/internal/request"
	"osbuild-containers/test/images"
)

// Files that another process uses are kept and reported, and removed by the next run.
func TestCollectLeavesWhatIsInUse(t *testing.T) {
	all := Policy{Unused: time.Hour}
	defer func(wait time.Duration) { pruneWait = wait }(pruneWait)
	pruneWait = 0
	collect := func(s *store) *Collected {
		t.Helper()
		plan, err := PlanGC(s.Cache, all, time.Now())
		s.Must(err)
		done, err := Collect(t.Context(), s.Cache, plan, time.Now())
		s.Must(err)
		return done
	}
	s := newStore(t)
	dir := filepath.Join(s.Dir, "sources")
	s.Pool.Close()
	s.Open(dir)
	for n, img := range []*images.Image{base, top} {
		s.Publish(img, 1+n, "example.com/name:1")
		s.used(img, day(1+n))
	}
	list := images.NewList(images.Of(base))
	s.Must(s.Cache.PublishFile(t.Context(), list.Digest, list.Raw))
	s.old(s.Cache.FilePath(list.Digest))

	lock := filepath.Join(filepath.Dir(s.Dir), "cache.lock")
	s.Write(lock, "")
	osbuild, err := os.Open(lock)
	s.Must(err)
	s.Must(unix.FcntlFlock(osbuild.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_RDLCK}))
	if done := collect(s); done.Freed != 0 || !strings.Contains(strings.Join(done.Busy, " "), "osbuild is building") || done.Images[0].Why == "" || len(s.scan()) != 2 {
		t.Errorf("osbuild runs: %+v", done)
	}
	osbuild.Close()

	pub, err := s.Cache.OpenImage(base.ID)
	s.Must(err)
	release, err := pub.RLock()
	s.Must(err)
	done := collect(s) // the pool is locked, too
	if done.Images[0].Why == "" || done.Images[1].Why != "" || done.Freed != 0 || !strings.Contains(strings.Join(done.Busy, " "), " fetches") {
		t.Errorf("an image is held and the pool open: %+v, freed %d, busy %q", done.Images, done.Freed, done.Busy)
	}
	if _, err := s.Cache.ReadFile(list.Digest); err != nil {
		t.Error("the list of the image that stays is away")
	}
	release()
	pub.Close()
	s.Pool.Close()
	before := s.disk()
	if done := collect(s); done.Freed != before || s.disk() != 0 || done.Busy != nil {
		t.Errorf("freed %d of %d, %d are left; busy: %q", done.Freed, before, s.disk(), done.Busy)
	}
}

// An image used or published again after the plan was made is kept.
func TestCollectLeavesWhatWasUsedMeanwhile(t *testing.T) {
	s := newStore(t)
	for _, img := range []*images.Image{base, top, other} {
		s.Publish(img, 1, "example.com/name:1")
		s.used(img, day(1))
	}
	s.Pool.Close()
	plan, err := PlanGC(s.Cache, Policy{Unused: time.Hour}, time.Now())
	s.Must(err)
	pub, err := s.Cache.OpenImage(base.ID)
	s.Must(err)
	pub.Use()
	pub.Close()
	s.Must(os.RemoveAll(s.Cache.ImagePath(top.ID)))
	s.Open(s.Dir)
	s.Publish(top, 2, "example.com/name:2")
	s.Pool.Close()
	done, err := Collect(t.Context(), s.Cache, plan, time.Now())
	s.Must(err)
	left := s.scan()
	if len(left) != 2 || slices.ContainsFunc(left, func(i *cacheinfo.Image) bool { return i.ID == other.ID }) {
		t.Errorf("left are %d images: %+v", len(left), done.Images)
	}
	if v := s.verify(); len(v.Damaged) > 0 {
		t.Errorf("damaged: %v", v.Damaged)
	}
}

// TestCollectLeavesWhatWasNamedMeanwhile checks that an image named after the plan was made is kept.
func TestCollectLeavesWhatWasNamedMeanwhile(t *testing.T) {
	s := newStore(t)
	for _, img := range []*images.Image{base, other} {
		s.Publish(img, 1, "example.com/name:1")
		s.used(img, day(1))
	}
	s.Pool.Close()
	all := s.scan()
	plan, err := PlanRemove(s.Cache, all, all, time.Now())
	s.Must(err)
	s.Must(s.Cache.AddOrigin(t.Context(), base.ID, cache.Origin{Name: "example.com/name:keep", Digest: base.Digest, Transport: cache.Tagged}))
	_, err = Collect(t.Context(), s.Cache, plan, time.Now())
	s.Must(err)
	if left := s.scan(); len(left) != 1 || left[0].ID != base.ID {
		t.Errorf("%d images are left, want the one with the new name", len(left))
	}
}

func TestCollectEndsWithItsContext(t *testing.T) {
	s := newStore(t)
	s.Publish(base, 1, "example.com/name:1")
	s.used(base, day(1))
	plan, err := PlanGC(s.Cache, Policy{Unused: time.Hour}, time.Now())
	s.Must(err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Collect(ctx, s.Cache, plan, time.Now()); err == nil || len(s.scan()) != 1 {
		t.Errorf("got %v, %d images are left", err, len(s.scan()))
	}
}

// Fetches succeed while gc runs, and images they report as cached are complete.
func TestFetchWhileCollecting(t *testing.T) {
	s := newServedStore(t, base, top)
	s.Pool.Close()
	items := []request.Item{
		{ID: base.ID, Image: request.Image{Name: s.name, Digest: base.Digest}},
		{ID: top.ID, Image: request.Image{Name: s.name, Digest: top.Digest}},
	}
	stop := make(chan struct{})
	var collectors sync.WaitGroup
	var freed atomic.Int64
	deadline := time.Now().Add(time.Minute)
	collectors.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			plan, err := PlanGC(s.Cache, Policy{Unused: time.Nanosecond}, time.Now())
			if err != nil {
				t.Error(err)
				return
			}
			done, err := Collect(t.Context(), s.Cache, plan, time.Now())
			if err != nil {
				t.Error(err)
			}
			freed.Add(done.Freed)
		}
	})
	var fetchers sync.WaitGroup
	for range 2 {
		fetchers.Go(func() {
			for n := 0; n < 8 || freed.Load() == 0 && time.Now().Before(deadline); n++ {
				req, err := request.New(s.Dir, items, request.DefaultOptions())
				s.Must(err)
				for _, r := range fetch.Images(t.Context(), req, nil) {
					if !r.Success {
						t.Error(r.Error)
					}
				}
			}
		})
	}
	fetchers.Wait()
	close(stop)
	collectors.Wait()
	if v := s.verify(); len(v.Damaged) > 0 {
		t.Errorf("damaged: %v", v.Damaged)
	}
	if freed.Load() == 0 {
		t.Error("nothing was collected meanwhile")
	}
}

// Files removed by another process are not an error, and the rest is removed.
func TestCollectTogether(t *testing.T) {
	s := newStore(t)
	for _, img := range []*images.Image{base, other} {
		s.Publish(img, 1, "example.com/name:1")
		s.used(img, day(1))
	}
	s.Pool.Close()
	plan, err := PlanGC(s.Cache, Policy{Unused: time.Hour}, time.Now())
	s.Must(err)
	first, err := PlanGC(s.Cache, Policy{Unused: time.Hour}, time.Now())
	s.Must(err)
	first.Images = first.Images[:1]
	_, err = Collect(t.Context(), s.Cache, first, time.Now())
	s.Must(err)
	done, err := Collect(t.Context(), s.Cache, plan, time.Now())
	s.Must(err)
	if left := s.scan(); len(left) != 0 || done.Busy != nil || done.Images[0].Why != "" {
		t.Errorf("left are %d images, busy: %q, %+v", len(left), done.Busy, done.Images)
	}
}

// A list requested after the plan was made is kept, since its image may be about to be fetched.
func TestCollectLeavesListsThatWereUsedMeanwhile(t *testing.T) {
	list := images.NewList(images.Of(base))
	s := newServedStore(t, list)
	s.Pool.Close()
	items := []request.Item{{ID: list.Digest, Image: request.Image{Name: s.name}}}
	req, err := request.New(s.Dir, items, request.DefaultOptions())
	s.Must(err)
	want := func(cached bool) {
		t.Helper()
		if r := fetch.Lists(t.Context(), req, nil)[0]; !r.Success || r.Metadata.Cached != cached {
			t.Fatalf("got %+v", r)
		}
	}
	want(false)
	for _, stays := range []bool{true, false} {
		s.old(s.Cache.FilePath(list.Digest))
		plan, err := PlanGC(s.Cache, Policy{Unused: time.Hour}, time.Now())
		s.Must(err)
		if stays {
			want(true)
		}
		done, err := Collect(t.Context(), s.Cache, plan, time.Now())
		s.Must(err)
		if _, err := s.Cache.ReadFile(list.Digest); (err == nil) != stays || len(done.Lists) > 0 == stays {
			t.Errorf("reading it gives %v, want it: %v; %d lists went", err, stays, len(done.Lists))
		}
	}
}
