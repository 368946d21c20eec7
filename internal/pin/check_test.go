package pin

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/manifest"
	"osbuild-containers/test/images"
	"osbuild-containers/test/registry"
)

// check checks pins and returns the first status.
func (w *world) check(pins []Image) Status {
	w.t.Helper()
	got, err := w.Check(w.t.Context(), pins)
	if err != nil {
		w.t.Fatal(err)
	}
	return got[0]
}

// delete deletes a manifest or tag from the registry.
func (w *world) delete(name string, ref string) {
	w.t.Helper()
	req, err := http.NewRequest(http.MethodDelete, w.reg.URL+"/v2/"+name+"/manifests/"+ref, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	res, err := w.reg.Client().Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusAccepted {
		w.t.Fatalf("delete %s: %s", ref, res.Status)
	}
}

// TestCheckStates pairs changes in the registry with the status of a pin.
func TestCheckStates(t *testing.T) {
	list := images.NewList(images.Of(arch("amd64"), arch("arm64")))
	other := arch("amd64", images.Seed(9))
	amd := list.Entries[0].(*images.Image)
	for name, c := range map[string]struct {
		happens func(w *world)
		state   State
		lines   []string
	}{
		"nothing": {func(*world) {}, OK, nil},
		"moved": {
			func(w *world) { w.push("images/name:v1", other) }, Moved,
			[]string{"the tag moved: " + manifest.Short(list.Digest) + " → " + manifest.Short(other.Digest)},
		},
		"untagged": {func(w *world) { w.delete("images/name", "v1") }, Moved, []string{"the tag is not there any more"}},
		"list gone": {
			func(w *world) { w.push("images/name:v1", other); w.delete("images/name", list.Digest.String()) }, Gone,
			[]string{"its list is no longer served", "the tag moved: " + manifest.Short(list.Digest) + " → " + manifest.Short(other.Digest)},
		},
		"manifest gone": {func(w *world) { w.delete("images/name", amd.Digest.String()) }, Gone, []string{"its manifest is no longer served"}},
		"forbidden": {
			func(w *world) { w.On(registry.Any("/manifests/v1$"), registry.Error(403, "DENIED", "no")) }, Failed,
			[]string{"tag: ", "log in (podman login"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.push("images/name:v1", list)
			pins := w.pin("registry.example/images/name:v1", "amd64")
			c.happens(w)
			got := w.check(pins)
			if got.State != c.state {
				t.Errorf("%s, want %s: %+v", got.State, c.state, got)
			}
			if !slices.EqualFunc(got.Lines(), c.lines, strings.HasPrefix) {
				t.Errorf("said %q, want %q", got.Lines(), c.lines)
			}
		})
	}
}

// TestCheckAsksOnce checks that a check reads nothing and sends each request once.
func TestCheckAsksOnce(t *testing.T) {
	w := newWorld(t)
	w.push("images/name:v1", images.NewList(images.Of(arch("amd64"), arch("arm64"))))
	pins := w.pin("registry.example/images/name:v1", "amd64", "arm64")
	w.Reset()
	w.check(pins)
	if got := w.Matching(registry.Get("/(manifests|blobs)/")); len(got) != 0 {
		t.Errorf("%d things were read: %+v", len(got), got)
	}
	if got := w.Matching(registry.Method(http.MethodHead, "")); len(got) != 4 {
		t.Errorf("%d questions, want for the tag, the list and two manifests", len(got))
	}
}

// TestCheckSaysWhichMirror checks that the location with the manifest is named, and that a mirror may still serve what the origin
// has deleted.
func TestCheckSaysWhichMirror(t *testing.T) {
	w := newWorld(t)
	img := arch("amd64")
	w.push("origin/name:v1", img)
	w.push("mirrored/name:v1", img)
	conf := "[[registry]]\nprefix = \"origin.example\"\nlocation = \"%[1]s/origin\"\ninsecure = true\n" +
		"[[registry.mirror]]\nlocation = \"%[1]s/mirrored\"\ninsecure = true\n"
	w.conf(fmt.Sprintf(conf, w.Addr))
	pins := w.pin("origin.example/name:v1", "amd64")
	w.delete("origin/name", img.Digest.String())
	if got := w.check(pins); got.State != OK || got.From != w.Addr+"/mirrored/name" {
		t.Errorf("with the mirror: %+v", got)
	}
	w.delete("mirrored/name", img.Digest.String())
	if got := w.check(pins); got.State != Gone || !slices.Equal(got.Missing, []string{"manifest", "tag"}) {
		t.Errorf("without: %+v", got)
	}
}

// TestBase checks when an image's base has moved: when the annotated name points neither to the annotated digest nor to a list that
// names it.
func TestBase(t *testing.T) {
	first, second := arch("amd64"), arch("amd64", images.Seed(2))
	annotated := func(name string, d digest.Digest) *images.Image {
		return arch("amd64", images.Annotation(baseName, name), images.Annotation(baseDigest, d.String()))
	}
	list := images.NewList(images.Of(first, arch("arm64")))
	newer := images.NewList(images.Of(second, arch("arm64")))
	for name, c := range map[string]struct {
		base  digest.Digest
		now   images.Entry
		moved bool
		error string
	}{
		"same image":         {first.Digest, first, false, ""},
		"same list":          {list.Digest, list, false, ""},
		"image of the list":  {first.Digest, list, false, ""},
		"other image":        {first.Digest, second, true, ""},
		"other list":         {list.Digest, newer, true, ""},
		"not of the list":    {first.Digest, newer, true, ""},
		"not there any more": {first.Digest, nil, false, "manifest unknown"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.push("images/name:v1", annotated("registry.example/base/name:v1", c.base))
			if c.now != nil {
				w.push("base/name:v1", c.now)
			} else {
				w.push("base/name:v2", first)
			}
			pins := w.pin("registry.example/images/name:v1", "amd64")
			got := w.check(pins)
			if got.State != OK {
				t.Errorf("state %s: the image itself is as it was", got.State)
			}
			if got.Base == nil || got.Base.Moved != c.moved || (got.Base.Error != "") != (c.error != "") {
				t.Fatalf("base %+v, want moved %t", got.Base, c.moved)
			}
			if c.moved && !strings.HasPrefix(strings.Join(got.Lines(), ""), "its base registry.example/base/name:v1 moved: "+manifest.Short(c.base)) {
				t.Errorf("said %q", got.Lines())
			}
		})
	}
}

func TestWorst(t *testing.T) {
	for _, c := range []struct {
		states []State
		want   State
	}{
		{nil, OK},
		{[]State{OK, Moved, OK}, Moved},
		{[]State{Moved, Failed}, Failed},
		{[]State{Failed, Gone, Moved}, Gone},
	} {
		var all []Status
		for _, s := range c.states {
			all = append(all, Status{State: s})
		}
		if got := Worst(all); got != c.want {
			t.Errorf("%v: %s, want %s", c.states, got, c.want)
		}
	}
}

// TestUpdate follows tags for the pinned platforms, and checks the changes.
func TestUpdate(t *testing.T) {
	w := newWorld(t)
	shared := images.New(images.Layer(5000)).Layers
	old := arch("amd64", images.Use(shared...))
	now := arch("amd64", images.Use(shared...), images.Seed(4))
	arm := arch("arm64")
	w.push("images/name:v1", images.NewList(images.Of(old, arm)))
	w.push("images/same:v1", arm)
	pins := slices.Concat(
		w.pin("registry.example/images/name:v1", "amd64", "arm64"),
		w.pin("registry.example/images/same:v1", "any"),
		w.pin("registry.example/images/name@"+old.Digest.String(), "amd64"),
	)
	next := images.NewList(images.Of(now, arm))
	w.push("images/name:v1", next)
	w.Reset()
	got, err := w.Update(t.Context(), pins)
	if err != nil {
		t.Fatal(err)
	}
	isPinned(t, &got[0].New, now, next)
	isPinned(t, &got[1].New, arm, next)
	for n, want := range []struct {
		changed              bool
		removed, added, kept int
	}{{true, 1, 1, 1}, {true, 0, 0, 1}, {false, 0, 0, 1}, {false, 0, 0, 2}} {
		c := got[n]
		if c.Changed != want.changed || len(c.Removed) != want.removed || len(c.Added) != want.added || len(c.Kept) != want.kept {
			t.Errorf("change %d: %+v, want %+v", n, c, want)
		}
	}
	if got[0].Kept[0].Digest != shared[0].Digest || got[0].Added[0].Digest != now.Layers[0].Digest && got[0].Added[0].Digest != now.Layers[1].Digest {
		t.Errorf("kept %+v, added %+v", got[0].Kept, got[0].Added)
	}
	if got[3].New.Manifest != old.Digest || len(w.Matching(registry.Any(old.Digest.String()))) > 0 {
		t.Errorf("a pin by digest was changed, or requested: %+v", got[3])
	}
}
