package fetch

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/request"
	"osbuild-containers/test/images"
	"osbuild-containers/test/output"
)

// TestCacheHitRecordsUse checks that a request that finds an image in the cache records its use, and that a plan does not.
func TestCacheHitRecordsUse(t *testing.T) {
	t.Parallel()
	img := images.New(images.Layer(100))
	_, name := serve(t, img)
	w := newWorld(t)
	w.images(itemOf(img, name)).ok()
	forget := func() {
		dir := cache.Open(w.cache).ImagePath(img.ID)
		old := time.Now().Add(-48 * time.Hour)
		for _, path := range []string{filepath.Join(dir, "version"), dir} {
			must(os.Chtimes(path, old, old))
		}
	}
	forget()
	used := func() time.Duration {
		pub, err := cache.Open(w.cache).OpenImage(img.ID)
		must(err)
		defer pub.Close()
		return time.Since(pub.Used())
	}
	r := &request.Request{Items: []request.Item{itemOf(img, name)}, Options: w.options, Cache: w.cache}
	log := progress.NewLog(&output.Buffer{})
	if plans := PlanImages(t.Context(), r, log); !plans[0].Cached || used() < 47*time.Hour {
		t.Errorf("a plan counts as use: %s ago", used())
	}
	if res := Images(t.Context(), r, log); !res[0].Metadata.Cached || used() > time.Hour {
		t.Errorf("used %s ago", used())
	}
	forget()
	if w.copyTo(newWorld(t), itemOf(img, name)).ok(); used() > time.Hour {
		t.Errorf("it was copied, and used %s ago", used())
	}
	to := newWorld(t)
	w.copyTo(to, itemOf(img, name)).ok()
	to, w = w, to
	forget()
	if to.copyTo(w, itemOf(img, name)).ok().cached(true); used() > time.Hour {
		t.Errorf("it was copied to before, and used %s ago", used())
	}
}

// TestYoungImageIsNotReliedOn checks that an image that another process is still publishing is not a hit: its name may not be
// durable.
func TestYoungImageIsNotReliedOn(t *testing.T) {
	t.Parallel()
	img := images.New(images.Layer(100))
	_, name := serve(t, img)
	w := newWorld(t)
	w.images(itemOf(img, name)).ok()
	lock, err := os.OpenFile(filepath.Join(w.cache, "org.osbuild.containers/.pool/locks", img.ID.Encoded()), os.O_RDWR|os.O_CREATE, 0o600)
	must(err)
	must(unix.Flock(int(lock.Fd()), unix.LOCK_EX))
	r := &request.Request{Items: []request.Item{itemOf(img, name)}, Options: w.options, Cache: w.cache}
	r.Options.Timeout = time.Millisecond
	if res := Images(t.Context(), r, progress.NewLog(&output.Buffer{})); res[0].Success || !errors.Is(res[0].Err, cache.ErrInUse) {
		t.Errorf("got %+v", res[0])
	}
	must(lock.Close())
	w.images(itemOf(img, name)).ok().cached(true)
}

// TestRefetchImages checks that only the intact blobs of a cached image are used.
func TestRefetchImages(t *testing.T) {
	t.Parallel()
	img := images.New(images.Layer(5000), images.Layer(7000))
	f, name := serve(t, img)
	w := newWorld(t)
	w.images(itemOf(img, name)).ok()
	w.dropPool()
	bad := img.Layers[1]
	put(filepath.Join(cache.Open(w.cache).ImagePath(img.ID), bad.Digest.Encoded()), string(make([]byte, bad.Size)))
	f.Reset()
	r := &request.Request{Items: []request.Item{itemOf(img, name)}, Options: w.options, Cache: w.cache}
	if res := Images(t.Context(), r, nil); !res[0].Metadata.Cached {
		t.Error("a request reads all blobs") // it must not
	}
	if res := RefetchImages(t.Context(), r, nil); !res[0].Success || res[0].Metadata.Cached {
		t.Errorf("got %+v", res[0])
	}
	w.has(img)
	if got := f.BytesSent("/blobs/"); got != bad.Size {
		t.Errorf("downloaded %d bytes, want %d", got, bad.Size)
	}
	put(cache.Open(w.cache).PooledPath(bad.Digest), string(make([]byte, bad.Size))) // hard link: the image's file changes, too
	if res := RefetchImages(t.Context(), r, nil); !res[0].Success {
		t.Errorf("got %+v", res[0])
	}
	w.has(img)
}
