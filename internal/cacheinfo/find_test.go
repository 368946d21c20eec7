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
	if want := "2 images in the cache are called \"base\": " + strings.Join(lines, "; "); err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
}

func TestManyMatchesAreCutShort(t *testing.T) {
	s := newStore(t)
	for n := range uint64(13) {
		s.Publish(images.New(images.Layer(100), images.Seed(n)), 1, fmt.Sprintf("example.com/many:%d", n))
	}
	_, err := FindOne(s.scan(), "many")
	if err == nil || strings.Count(err.Error(), ";") != shownMatches || !strings.HasSuffix(err.Error(), "and 3 more") {
		t.Errorf("got %v", err)
	}
}

func TestEntries(t *testing.T) {
	s := newStore(t)
	old, fresh := created(1), created(2)
	s.Publish(old, 3, "example.com/b:1", "example.com/b:2", "example.com/b") // fetched after the newer one
	s.Publish(fresh, 2, "example.com/b:1", "example.com/a:latest", "example.com/c")
	s.Publish(base, 4, "example.com/b:3")
	s.Foreign(other, 5)
	s.Must(s.Cache.AddOrigin(s.T.Context(), base.ID, cache.Origin{Name: "example.com/b:2"}))
	name := map[digest.Digest]string{old.ID: "old", fresh.ID: "fresh", base.ID: "base", other.ID: "other"}
	var got []string
	for _, e := range Entries(s.scan()) {
		got = append(got, fmt.Sprintf("%s=%s@%d", strings.TrimPrefix(e.String(), "example.com/"), name[e.ID], e.Fetched.Day()))
	}
	// Of b, tag 1 has the newest image; base is older than both. A name without a tag is not listed if the image has a tag.
	want := "a:latest=fresh@2 b:1=fresh@2 b:1=old@3 b:2=old@3 b:2=base@4 b:3=base@4 c=fresh@2 (no name recorded)=other@5"
	if strings.Join(got, " ") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, " "), want)
	}
}

// created returns an image created on a day of June 2026.
func created(n int, opts ...images.Option) *images.Image {
	return images.New(append(opts, images.Layer(1), images.Seed(uint64(n)), images.Created(day(n)))...)
}

// A name means the newest image of each platform: by its creation time, then by its fetch time.
func TestFindNewest(t *testing.T) {
	s := newStore(t)
	first, last, arm := created(1), created(2), created(1, images.Arch("arm64"))
	same, again := images.New(images.Layer(1), images.Seed(11)), images.New(images.Layer(1), images.Seed(12))
	s.Publish(first, 9, "example.com/app:1", "example.com/app:old")
	s.Publish(last, 8, "example.com/app:1")
	s.Publish(arm, 7, "example.com/app:1")
	s.Publish(same, 1, "example.com/same:1")
	s.Publish(again, 2, "example.com/same:1")
	all := s.scan()
	name := map[digest.Digest]string{first.ID: "first", last.ID: "last", arm.ID: "arm", same.ID: "same", again.ID: "again"}
	for what, want := range map[string]string{
		"app:1": "arm last", "app:old": "first", "app": "arm first last", "same": "again",
		first.ID.String(): "first", "app:1@" + first.ID.String(): "first", "app:1@" + first.Digest.String(): "first",
	} {
		found, err := FindNewest(all, what)
		var got []string
		for _, i := range found {
			got = append(got, name[i.ID])
		}
		slices.Sort(got)
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%q means %q (%v), want %q", what, got, err, want)
		}
	}
	if i, err := FindOne(all, "same:1"); err != nil || i.ID != again.ID {
		t.Errorf("got %v, %v", i, err)
	}
	if _, err := FindNewest(all, "none"); err == nil {
		t.Error("an image was found that is not there")
	}
}

// Removing by name removes one name, and removing by id one image.
func TestFindNames(t *testing.T) {
	id := func(hex string) digest.Digest {
		return digest.Digest("sha256:" + hex + strings.Repeat("0", 64-len(hex)))
	}
	named := func(hex string, names ...string) *Image {
		i := &Image{ID: id(hex)}
		for _, n := range names {
			i.Origins = append(i.Origins, cache.Origin{Name: n})
		}
		return i
	}
	all := []*Image{
		named("abcd1", "a.test/x/app:1", "a.test/x/app", "a.test/x/app:2", "a.test/abcd:1"),
		named("abcd2", "a.test/x/app:1"),
		named("ffff1", "a.test/y/app"),
		named("ffff2", "a.test/cafe:1"),
		named("cafe1", "a.test/z:1"),
	}
	for what, want := range map[string]string{
		"app:1": "abcd1 abcd2 a.test/x/app:1", "x/app:2": "abcd1 a.test/x/app:2", "y/app": "ffff1 a.test/y/app",
		"abcd1": "abcd1 ", "sha256:ffff1": "ffff1 ", "app:1@" + id("abcd2").String(): "abcd2 a.test/x/app:1",
		"abcd":  "2 images in the cache are called \"abcd\": abcd10000000  a.test/abcd:1; abcd20000000  a.test/x/app:1",
		"cafe":  "2 images in the cache are called \"cafe\": cafe10000000  a.test/z:1; ffff20000000  a.test/cafe:1",
		"x/app": "2 names in the cache are called \"x/app\": a.test/x/app:1; a.test/x/app:2",
		"none":  "no image in the cache is called \"none\", by name[:tag] or by the beginning of an id",
	} {
		found, name, err := FindNames(all, what)
		var got []string
		for _, i := range found {
			got = append(got, i.ID.Encoded()[:5])
		}
		text := strings.Join(append(got, name.String()), " ")
		if err != nil {
			text = err.Error()
		}
		if text != want {
			t.Errorf("%s means\n%s, want\n%s", what, text, want)
		}
	}
	for gone, want := range map[string]string{"1": "app app:2 abcd:1", "2": "app app:1 abcd:1", "1 2": "abcd:1"} {
		var names []Name
		for tag := range strings.FieldsSeq(gone) {
			names = append(names, Name{"a.test/x/app", tag})
		}
		left := all[0].Without(names)
		for _, n := range left {
			if !strings.Contains(" "+want+" ", strings.TrimPrefix(strings.TrimPrefix(n.String(), "a.test/"), "x/")) {
				t.Errorf("without %s there is %v, want %s", gone, left, want)
			}
		}
		if len(left) != len(strings.Fields(want)) {
			t.Errorf("without %s there is %v, want %s", gone, left, want)
		}
	}
}

// TestNamesWithTagsAreFirst: an image that was fetched for a manifest, too, keeps the name that the user gave it.
func TestNamesWithTagsAreFirst(t *testing.T) {
	i := &Image{}
	for _, name := range []string{"example.com/b", "example.com/a", "example.com/a:2", "example.com/a", "example.com/a:1"} {
		i.Origins = append(i.Origins, cache.Origin{Name: name})
	}
	var got []string
	for _, n := range i.Names() {
		got = append(got, n.String())
	}
	if want := []string{"example.com/a:1", "example.com/a:2", "example.com/a", "example.com/b"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
