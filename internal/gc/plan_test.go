package gc

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/cacheinfo"
	"osbuild-containers/test/images"
)

// used sets the time of an image's last use.
func (s *store) used(img *images.Image, at time.Time) {
	s.T.Helper()
	for _, path := range []string{filepath.Join(s.Cache.ImagePath(img.ID), "version"), s.Cache.ImagePath(img.ID)} {
		s.Must(os.Chtimes(path, at, at))
	}
}

// old sets an old modification time.
func (s *store) old(path string) {
	s.T.Helper()
	s.Must(os.Chtimes(path, day(1), day(1)))
}

// disk returns the total size of the cache's blobs, each file counted once.
func (s *store) disk() (total int64) {
	s.T.Helper()
	seen := map[uint64]bool{}
	s.Must(filepath.WalkDir(s.Dir, func(path string, _ os.DirEntry, err error) error {
		var st unix.Stat_t
		if err == nil && digest.NewDigestFromEncoded(digest.SHA256, filepath.Base(path)).Validate() == nil {
			if err = unix.Lstat(path, &st); err == nil && !seen[st.Ino] {
				seen[st.Ino] = true
				total += st.Size
			}
		}
		return err
	}))
	return total
}

// went returns the images that a plan removes, in order.
func went(p *Plan) string {
	var names []string
	for _, r := range p.Images {
		names = append(names, map[digest.Digest]string{base.ID: "base", top.ID: "top", other.ID: "other"}[r.ID])
	}
	return strings.Join(names, " ")
}

// now is noon on the last day of June.
var now = day(30)

func TestPolicies(t *testing.T) {
	sizes := base.Size() + top.Size() - base.Layers[0].Size + other.Size()
	loose := []byte("no image has it")
	keeps := func(all ...digest.Digest) map[digest.Digest]bool {
		m := map[digest.Digest]bool{}
		for _, d := range all {
			m[d] = true
		}
		return m
	}
	shared := base.Layers[0].Size
	for name, c := range map[string]struct {
		policy  Policy
		went    string
		frees   int64
		missing int
	}{
		"none":                           {Policy{}, "", 0, 0},
		"keep one":                       {Policy{Keep: keeps(base.ID)}, "top other", top.Size() - shared + other.Size(), 0},
		"keep one that is not there":     {Policy{Keep: keeps(digest.FromString("x"))}, "base top other", sizes, 1},
		"older than a week":              {Policy{Unused: 7 * 24 * time.Hour}, "base top", base.Size() + top.Size() - shared, 0},
		"older than 15 days":             {Policy{Unused: 15 * 24 * time.Hour}, "base", base.Size() - shared, 0},
		"older than a year":              {Policy{Unused: 365 * 24 * time.Hour}, "", 0, 0},
		"older than a week, but not one": {Policy{Unused: 7 * 24 * time.Hour, Keep: keeps(base.ID)}, "top", top.Size() - shared, 0},
		"large enough":                   {Policy{MaxSize: new(sizes + 1)}, "", 0, 0},
		"a bit too large":                {Policy{MaxSize: new(sizes - 1)}, "base", base.Size() - shared, 0},
		"room for the older one":         {Policy{MaxSize: new(sizes - base.Size())}, "top", top.Size() - shared, 0},
		"no room for both":               {Policy{MaxSize: new(other.Size())}, "base top", base.Size() + top.Size() - shared, 0},
		"too large, but not one":         {Policy{MaxSize: new(int64(1)), Keep: keeps(top.ID)}, "base other", base.Size() - shared + other.Size(), 0},
		"too large, and old":             {Policy{MaxSize: new(int64(1)), Unused: time.Hour}, "base top other", sizes, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			s.Publish(base, 10, "example.com/base:1")
			s.Publish(top, 11, "example.com/top:1")
			s.Foreign(other, 12)
			s.used(base, day(14))
			s.used(top, day(20))
			s.used(other, day(29))
			s.Put(digest.FromBytes(loose), loose)
			half := filepath.Join(s.Dir, "org.osbuild.containers/.pool/partial", digest.FromString("half").Encoded())
			s.Write(half, "ha")
			s.old(half)
			s.Pool.Close()
			before := s.disk()
			plan, err := PlanGC(s.Cache, c.policy, now)
			s.Must(err)
			if got := went(plan); got != c.went || plan.Total != before {
				t.Errorf("%q would go of %d bytes, want %q of %d", got, plan.Total, c.went, before)
			}
			if want := c.frees + int64(len(loose)) + 2; plan.Frees != want || s.disk() != before {
				t.Errorf("%d bytes would come free, want %d", plan.Frees, want)
			}
			if len(plan.Missing) != c.missing {
				t.Errorf("missing: %v", plan.Missing)
			}
			promised := plan.Frees
			done, err := Collect(t.Context(), s.Cache, plan, time.Now())
			s.Must(err)
			if got := before - s.disk(); done.Freed != got || promised != got || done.Busy != nil {
				t.Errorf("%d bytes came free, %d were promised and %d reported; busy: %q", got, promised, done.Freed, done.Busy)
			}
			left := s.scan()
			if len(left) != 3-len(plan.Images) {
				t.Errorf("%d images are left", len(left))
			}
			if v := s.verify(); len(v.Damaged) > 0 {
				t.Errorf("damaged by it: %v", v.Damaged)
			}
			if done.Over = plan.Over; c.policy.MaxSize != nil && (s.disk() > *c.policy.MaxSize) != (done.Over > 0) {
				t.Errorf("%d bytes are left, %d too many", s.disk(), done.Over)
			}
		})
	}
}

func TestPolicyThatKeepsNothing(t *testing.T) {
	for _, c := range []struct {
		policy Policy
		ok     bool
	}{
		{Policy{}, true},
		{Policy{Keep: map[digest.Digest]bool{}}, false},
		{Policy{Keep: map[digest.Digest]bool{}, Unused: time.Hour}, true},
		{Policy{Keep: map[digest.Digest]bool{base.ID: true}}, true},
		{Policy{Unused: -1}, false},
	} {
		if err := c.policy.Check(); (err == nil) != c.ok {
			t.Errorf("%+v: %v", c.policy, err)
		}
	}
}

// A list is removed with the last image it names. Files of other sources of osbuild are kept.
func TestListsGoWithTheirImages(t *testing.T) {
	s := newStore(t)
	s.Publish(base, 1, "example.com/base:1")
	s.Publish(top, 1, "example.com/top:1")
	gone := images.New(images.Layer(3), images.Seed(9))
	both, one, none, fresh, kept := images.NewList(images.Of(base, top)), images.NewList(images.Of(top)), images.NewList(images.Of(gone)), images.NewList(images.Of(gone, gone)), images.NewList(images.Of(gone, top))
	rpm := []byte(`{"an": "rpm"}`)
	for _, raw := range [][]byte{both.Raw, one.Raw, none.Raw, fresh.Raw, kept.Raw, rpm} {
		d := digest.FromBytes(raw)
		s.Must(s.Cache.PublishFile(t.Context(), d, raw))
		if d != fresh.Digest {
			s.old(s.Cache.FilePath(d))
		}
	}
	damaged := s.Cache.FilePath(digest.FromString("damaged"))
	s.Write(damaged, "{")
	s.old(damaged)
	s.Pool.Close()
	plan, err := PlanGC(s.Cache, Policy{Keep: map[digest.Digest]bool{base.ID: true, kept.Digest: true}}, time.Now())
	s.Must(err)
	_, err = Collect(t.Context(), s.Cache, plan, time.Now())
	s.Must(err)
	for d, want := range map[digest.Digest]bool{both.Digest: true, one.Digest: false, none.Digest: false, fresh.Digest: true, kept.Digest: true, digest.FromBytes(rpm): true, digest.FromString("damaged"): true} {
		if _, err := os.Stat(s.Cache.FilePath(d)); (err == nil) != want {
			t.Errorf("list %s is there: %t, want %t", d, err == nil, want)
		}
	}
	plan, err = PlanGC(s.Cache, Policy{}, time.Now().Add(48*time.Hour))
	s.Must(err)
	if len(plan.Lists) > 0 {
		t.Errorf("without a policy go %v", plan.Lists)
	}
}

// The total size of sparse files can exceed an int64.
func TestSumsDoNotOverflow(t *testing.T) {
	large := []cache.Stored{{Size: math.MaxInt64}, {Size: math.MaxInt64, FileID: cache.FileID{Ino: 1}}}
	if got := newUsage(nil, large).total; got != math.MaxInt64 {
		t.Errorf("got %d", got)
	}
}

// Only the named images, and blobs that no other image needs, are removed; Frees is accurate.
func TestPlanRemove(t *testing.T) {
	s := newStore(t)
	for n, img := range []*images.Image{base, top, other} {
		s.Publish(img, 1+n, "example.com/name:1")
	}
	s.Pool.Close()
	all := s.scan()
	var some []*cacheinfo.Image
	for _, i := range all {
		if i.ID == top.ID {
			some = append(some, i)
		}
	}
	plan, err := PlanRemove(s.Cache, all, some, now)
	s.Must(err)
	want := int64(len(top.Config)) + top.Layers[1].Size
	if went(plan) != "top" || plan.Frees != want {
		t.Errorf("%s would go, %d bytes, want top, %d bytes", went(plan), plan.Frees, want)
	}
	before := s.disk()
	done, err := Collect(t.Context(), s.Cache, plan, now)
	s.Must(err)
	if done.Freed != want || before-s.disk() != want || len(s.scan()) != 2 {
		t.Errorf("freed %d bytes, %d on disk, want %d; %d images are left", done.Freed, before-s.disk(), want, len(s.scan()))
	}
}
