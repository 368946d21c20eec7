package cache

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"osbuild-containers/test/calls"
)

var (
	monday  = time.Date(2026, 6, 1, 12, 0, 0, 999, time.FixedZone("", 3600))
	tuesday = time.Date(2026, 6, 2, 12, 0, 0, 0, time.UTC)
)

// from is an origin of an image.
func (p picture) from(name string, at time.Time) *picture {
	p.Image = &Image{Manifest: p.Manifest, Blobs: p.Blobs, Signatures: p.Signatures}
	p.Origins = []Origin{{Name: name, Digest: descriptor(p.Manifest).Digest, Fetched: at}}
	return &p
}

// originsOf reads what is recorded, a word for each origin.
func originsOf(t testing.TB, c *Cache, img picture) string {
	t.Helper()
	pub, err := c.OpenImage(img.id)
	must(t, err)
	defer pub.Close()
	all, err := pub.Origins()
	must(t, err)
	var b strings.Builder
	for _, o := range all {
		fmt.Fprintf(&b, "%s=%s ", o.Name, o.Fetched.Format("Mon15:04:05"))
	}
	return strings.TrimSpace(strings.ReplaceAll(b.String(), "Mon00:00:00", "never"))
}

func TestOriginsAreRecordedBesideTheImage(t *testing.T) {
	c, p := newCache(t)
	img := draw(1, 0)
	for _, step := range []struct {
		promise string
		do      func()
		want    string
	}{
		{"an image without records has no origin", func() { img.mustPublish(t, c, p) }, ""},
		{"where it was fetched is recorded, in UTC", func() { img.from("b", monday).mustPublish(t, c, p) }, "b=Mon11:00:00"},
		{"a second name is added", func() { img.from("a", monday).mustPublish(t, c, p) }, "a=Mon11:00:00 b=Mon11:00:00"},
		{"of one name there is the latest", func() { img.from("b", tuesday).mustPublish(t, c, p) }, "a=Mon11:00:00 b=Tue12:00:00"},
		{"who says nothing changes nothing", func() { img.mustPublish(t, c, p) }, "a=Mon11:00:00 b=Tue12:00:00"},
		{"a name without a fetch is known too", func() { must(t, c.AddOrigin(context.Background(), img.id, Origin{Name: "c", Fetched: monday})) }, "a=Mon11:00:00 b=Tue12:00:00 c=never"},
		{"and does not hide a fetch", func() { must(t, c.AddOrigin(context.Background(), img.id, Origin{Name: "a"})) }, "a=Mon11:00:00 b=Tue12:00:00 c=never"},
		{"another image under the id keeps them", func() { draw(1, 1).from("c", tuesday).mustPublish(t, c, p) }, "a=Mon11:00:00 b=Tue12:00:00 c=Tue12:00:00"},
	} {
		step.do()
		if got := originsOf(t, c, img); got != step.want {
			t.Errorf("%s: got %q, want %q", step.promise, got, step.want)
		}
	}
	if got, want := modeOf(t, filepath.Join(filepath.Dir(c.ImagePath(img.id)), originFile)), os.FileMode(0o644); got != want {
		t.Errorf("mode %o, want %o", got, want)
	}
	wantNothingLeft(t, c)
}

// A name can be taken from an image, which stays; what it was published with has its names still when it is fetched again.
func TestRemoveOrigins(t *testing.T) {
	c, p := newCache(t)
	img := draw(1, 0)
	img.from("a", monday).mustPublish(t, c, p)
	must(t, c.AddOrigin(t.Context(), img.id, Origin{Name: "b", Transport: Tagged}))
	for _, step := range []struct {
		drop    string
		removed bool
		want    string
	}{{"c", false, "a=Mon11:00:00 b=never"}, {"a", true, "b=never"}, {"b", true, ""}, {"b", false, ""}} {
		removed, err := c.RemoveOrigins(t.Context(), img.id, func(o Origin) bool { return o.Name == step.drop })
		if got := originsOf(t, c, img); err != nil || removed != step.removed || got != step.want {
			t.Errorf("without %s: %v, %v, got %q, want %q", step.drop, removed, err, got, step.want)
		}
	}
	img.from("a", tuesday).mustPublish(t, c, p)
	if got := originsOf(t, c, img); got != "a=Tue12:00:00" {
		t.Errorf("got %q", got)
	}
	if _, err := c.RemoveOrigins(t.Context(), draw(2, 0).id, func(Origin) bool { return true }); err == nil || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an image that is not there: %v", err)
	}
	wantNothingLeft(t, c)
}

// The same origins give the same file, whatever their order; who has nothing new does not write it.
func TestOriginsAreWrittenOnlyWhenTheyChange(t *testing.T) {
	c, p := newCache(t)
	img := draw(1, 0)
	img.from("a", monday).mustPublish(t, c, p)
	path := filepath.Join(filepath.Dir(c.ImagePath(img.id)), originFile)
	before, err := os.Stat(path)
	must(t, err)
	img.from("a", monday).mustPublish(t, c, p)
	must(t, c.AddOrigin(context.Background(), img.id, Origin{Name: "a"}))
	after, err := os.Stat(path)
	must(t, err)
	if !os.SameFile(before, after) {
		t.Error("the file was written again")
	}
	img.from("b", monday).mustPublish(t, c, p)
	first, err := os.ReadFile(path)
	must(t, err)
	c, p = newCache(t)
	img.from("b", monday).mustPublish(t, c, p)
	img.from("a", monday).mustPublish(t, c, p)
	second, err := os.ReadFile(filepath.Join(filepath.Dir(c.ImagePath(img.id)), originFile))
	must(t, err)
	if string(first) != string(second) {
		t.Errorf("%s\nand\n%s", first, second)
	}
}

// Broken files next to an image never cost the image.
func TestOriginsThatCannotBeRecordedFailNothing(t *testing.T) {
	for name, spoil := range map[string]func(path string){
		"directory":   func(path string) { writeTest(t, filepath.Join(path, "x"), []byte("z")) },
		"not JSON":    func(path string) { writeTest(t, path, []byte("{")) },
		"wrong types": func(path string) { writeTest(t, path, []byte(`{"version":1,"sources":{"name":7}}`)) },
		"a link": func(path string) {
			must(t, os.MkdirAll(filepath.Dir(path), 0o755))
			must(t, os.Symlink("/etc/hostname", path))
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, p := newCache(t)
			img := draw(1, 0)
			spoil(filepath.Join(filepath.Dir(c.ImagePath(img.id)), originFile))
			img.from("a", monday).mustPublish(t, c, p)
			img.from("b", monday).mustPublish(t, c, p)
			pub, err := c.OpenImage(img.id)
			must(t, err)
			defer pub.Close()
			if all, err := pub.Origins(); name != "directory" && (err != nil || len(all) == 0) {
				t.Errorf("it is not replaced: %v, %v", all, err)
			} else if name == "directory" && err == nil {
				t.Error("a directory was read")
			}
			wantNothingLeft(t, c)
		})
	}
}

func TestOriginsOfANewerVersionAreLeftAlone(t *testing.T) {
	c, p := newCache(t)
	img := draw(1, 0)
	path := filepath.Join(filepath.Dir(c.ImagePath(img.id)), originFile)
	writeTest(t, path, []byte(`{"version":2,"sources":"elsewhere"}`))
	img.from("a", monday).mustPublish(t, c, p)
	must(t, c.AddOrigin(context.Background(), img.id, Origin{Name: "b"}))
	if err := c.AddOrigin(context.Background(), img.id, Origin{Name: "c", Transport: Tagged}); !errors.Is(err, errNewer) {
		t.Errorf("a name that was not recorded: got %v, want %v", err, errNewer)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != `{"version":2,"sources":"elsewhere"}` {
		t.Errorf("got %s, %v", got, err)
	}
}

// Where the pool is on another file system, what is recorded finds its way too.
func TestOriginsWithThePoolElsewhere(t *testing.T) {
	j := job{Do: "all", Dir: filepath.Join(memoryDir(t), "cache"), Seed: 1}
	refused := 0
	out, err := j.watch(t, func(c calls.Call) calls.Verdict {
		if strings.Contains(c.Path, "/.pool/staging/") && !strings.Contains(c.New, "/.pool/") {
			refused++
			return syscall.EXDEV
		}
		return calls.Continue
	}, "renameat", "renameat2")
	if err != nil || refused < 2 {
		t.Fatalf("%v after %d renames refused: %s", err, refused, out)
	}
	must(t, draw(1, 1).check(Open(j.Dir)))
	if got, want := originsOf(t, Open(j.Dir), draw(1, 1)), "both=Mon12:00:01 known=never name0=Mon12:00:00 name1=Mon12:00:01"; got != want {
		t.Errorf("recorded is %q, want %q", got, want)
	}
}
