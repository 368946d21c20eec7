package cacheinfo

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/test/images"
)

func TestFind(t *testing.T) {
	s := newStore(t)
	s.Publish(base, 1, "example.com/a/base:1", "docker.io/library/base:latest")
	s.Publish(top, 2, "example.com/a/base:2", "127.0.0.1:5000/top")
	s.Foreign(other, 3)
	all := s.scan()
	name := map[digest.Digest]string{base.ID: "base", top.ID: "top", other.ID: "other"}
	for what, want := range map[string]string{
		"example.com/a/base:1": "base", "base:1": "base", "a/base:2": "top", "top": "top", "127.0.0.1:5000/top": "top",
		"base": "base top", "example.com/a/base": "base top", "docker.io/library/base:latest": "base", "library/base": "base",
		base.ID.String(): "base", base.ID.Encoded(): "base", other.ID.Encoded()[:8]: "other", "sha256:" + other.ID.Encoded()[:4]: "other",
		top.Digest.String(): "top", "docker://example.com/a/base:1": "base", "base@" + top.Digest.String(): "top",
		"ase": "", "a": "", "": "", "base:": "", ":1": "", base.ID.Encoded()[:3]: "", "base@" + other.Digest.String(): "", "example.com": "",
	} {
		found, err := Find(all, what)
		var got []string
		for _, i := range found {
			got = append(got, name[i.ID])
		}
		slices.Sort(got)
		if strings.Join(got, " ") != want || (want == "") != (err != nil) {
			t.Errorf("%q means %q (%v), want %q", what, got, err, want)
		}
		one, err := FindOne(all, what)
		if ok := err == nil && one != nil; ok != (want != "" && !strings.Contains(want, " ")) {
			t.Errorf("%q as one image: %v", what, err)
		}
	}
	_, err := FindOne(all, "base")
	lines := []string{manifest.Short(base.ID) + "  docker.io/library/base:latest amd64", manifest.Short(top.ID) + "  127.0.0.1:5000/top amd64"}
	slices.Sort(lines)
	if want := "2 images in the cache are called \"base\": say which by its id\n  " + strings.Join(lines, "\n  "); err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

func TestManyMatchesAreCutShort(t *testing.T) {
	s := newStore(t)
	for n := range uint64(13) {
		s.Publish(images.New(images.Layer(100), images.Seed(n)), 1, "example.com/many:1")
	}
	_, err := FindOne(s.scan(), "many")
	if err == nil || strings.Count(err.Error(), "\n") != shownMatches+1 || !strings.HasSuffix(err.Error(), "and 3 more") {
		t.Errorf("got %v", err)
	}
}

func TestEntries(t *testing.T) {
	s := newStore(t)
	old, fresh := images.New(images.Layer(1), images.Seed(1)), images.New(images.Layer(1), images.Seed(2))
	s.Publish(old, 1, "example.com/b:1", "example.com/b:2")
	s.Publish(fresh, 2, "example.com/b:1", "example.com/a:latest")
	s.Publish(base, 4, "example.com/b:3")
	s.Foreign(other, 5)
	s.Must(s.Cache.AddOrigin(s.T.Context(), base.ID, cache.Origin{Name: "example.com/b:2"}))
	name := map[digest.Digest]string{old.ID: "old", fresh.ID: "fresh", base.ID: "base", other.ID: "other"}
	var got []string
	for _, e := range Entries(s.scan()) {
		got = append(got, fmt.Sprintf("%s=%s@%d", strings.TrimPrefix(e.String(), "example.com/"), name[e.ID], e.Fetched.Day()))
	}
	// Of b, 2 and 3 have what was fetched last, then 1; of 2 and of 1 the newest comes first.
	want := "a:latest=fresh@2 b:2=base@4 b:2=old@1 b:3=base@4 b:1=fresh@2 b:1=old@1 (no name recorded)=other@5"
	if strings.Join(got, " ") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, " "), want)
	}
}
