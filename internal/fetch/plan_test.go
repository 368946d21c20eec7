package fetch

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/request"
	"osbuild-containers/test/images"
	"osbuild-containers/test/output"
	"osbuild-containers/test/registry"
)

// plan plans items and abbreviates the result: for each blob the first letter of its way, and the bytes to download.
func (w *world) plan(items ...request.Item) (string, []Planned) {
	w.t.Helper()
	r, err := request.New(w.cache, items, w.options)
	if err != nil {
		w.t.Fatal(err)
	}
	plan := PlanImages
	if items[0].Image.Digest == "" {
		plan = PlanLists
	}
	var log output.Buffer
	plans := plan(w.t.Context(), r, progress.NewLog(&log))
	var text []string
	for _, p := range plans {
		blobs := ""
		for _, b := range p.Blobs {
			blobs += fmt.Sprintf(" %c", b.Way[0])
			if b.Way == Download {
				blobs += fmt.Sprint(b.Size - b.Have)
			}
		}
		switch {
		case p.Err != nil:
			blobs += " " + hint.Line(p.Err, hint.Fields)
		case p.Cached:
			blobs += " cached"
		default:
			blobs += fmt.Sprintf(" =%d/%d", p.Download(), p.Reused())
		}
		text = append(text, strings.TrimSpace(blobs))
	}
	return strings.Join(text, "; "), plans
}

func TestPlan(t *testing.T) {
	t.Parallel()
	base := images.New(images.Layer(1000))
	top := images.New(images.Use(base.Layers[0]), images.Layer(2000))
	list := images.NewList(images.Of(images.New(images.Arch("arm64")), top))
	f, name := serve(t, list, base)
	c0, c1 := int64(len(base.Config)), int64(len(top.Config))
	l0, l1 := base.Layers[0].Size, top.Layers[1].Size
	order := func(a, b string) string { // by image id, as a request is sorted
		if base.ID < top.ID {
			return a + "; " + b
		}
		return b + "; " + a
	}
	sum := func(down, reused int64) string { return fmt.Sprintf(" =%d/%d", down, reused) }
	for promise, c := range map[string]struct {
		put   func(w *world)
		items []request.Item
		want  string
	}{
		"an empty cache needs everything": {func(*world) {}, []request.Item{itemOf(base, name)}, fmt.Sprintf("d%d d%d", c0, l0) + sum(c0+l0, 0)},
		"of a list the image with the id": {func(*world) {}, []request.Item{via(list, top, name)}, fmt.Sprintf("d%d d%d d%d", c1, l0, l1) + sum(c1+l0+l1, 0)},
		"nothing is needed of what is stored": {
			func(w *world) { w.images(itemOf(base, name)).ok() },
			[]request.Item{itemOf(base, name)},
			"cached",
		},
		"what another image has is reused": {
			func(w *world) { w.images(itemOf(base, name)).ok() },
			[]request.Item{itemOf(top, name)},
			fmt.Sprintf("d%d p d%d", c1, l1) + sum(c1+l1, l0),
		},
		"a download continues": {
			func(w *world) { w.setPartial(base.Layers[0].Digest, base.Layers[0].Blob[:600]) },
			[]request.Item{itemOf(base, name)},
			fmt.Sprintf("d%d d%d", c0, l0-600) + sum(c0+l0-600, 600),
		},
		"what is longer than the blob does not count": {
			func(w *world) { w.setPartial(base.Layers[0].Digest, make([]byte, l0+1)) },
			[]request.Item{itemOf(base, name)},
			fmt.Sprintf("d%d d%d", c0, l0) + sum(c0+l0, 0),
		},
		"a damaged image keeps what is right": {
			func(w *world) {
				w.images(itemOf(base, name)).ok()
				w.dropPool()
				must(os.Remove(filepath.Join(cache.Open(w.cache).ImagePath(base.ID), base.Layers[0].Digest.Encoded())))
			},
			[]request.Item{itemOf(base, name)},
			fmt.Sprintf("i d%d", l0) + sum(l0, c0),
		},
		"one that is not there fails alone": {
			func(*world) {},
			[]request.Item{itemOf(base, name), {ID: top.ID, Image: request.Image{Name: name, Digest: top.ID}}},
			order(fmt.Sprintf("d%d d%d", c0, l0)+sum(c0+l0, 0),
				"read manifest: manifest unknown\ncheck the name and whether the registry still has this digest"),
		},
	} {
		w := newWorld(t)
		c.put(w)
		before := len(f.Matching(registry.Get("/blobs/")))
		if got, _ := w.plan(c.items...); got != c.want {
			t.Errorf("%s: got %s, want %s", promise, got, c.want)
		}
		if n := len(f.Matching(registry.Get("/blobs/"))) - before; n > 0 {
			t.Errorf("%s: %d blobs were downloaded", promise, n)
		}
		if _, err := os.Lstat(w.cache); promise == "an empty cache needs everything" && err == nil {
			t.Error("the cache was made")
		}
	}
}

// A layer of two images is downloaded for the first, and the fetch does what the plan says.
func TestPlanIsWhatHappens(t *testing.T) {
	t.Parallel()
	base := images.New(images.Layer(1000))
	top := images.New(images.Use(base.Layers[0]), images.Layer(2000))
	list := images.NewList(images.Of(base))
	_, name := serve(t, list, top)
	w := newWorld(t)
	w.setPartial(top.Layers[1].Digest, top.Layers[1].Blob[:700])
	items := []request.Item{itemOf(base, name), itemOf(top, name)}
	text, plans := w.plan(items...)
	if strings.Count(text, " e") != 1 || !strings.HasSuffix(plans[0].From, "/name") {
		t.Errorf("the layer that both have is not brought once: %s, from %s", text, plans[0].From)
	}
	var down, reused int64
	for _, p := range plans {
		down, reused = down+p.Download(), reused+p.Reused()
	}
	for _, r := range w.images(items...).ok().Results {
		down, reused = down-r.Metadata.Bytes, reused-r.Metadata.Reused
	}
	if down != 0 || reused != 0 {
		t.Errorf("planned was to download %d bytes more and reuse %d more than there were", down, reused)
	}
	if got, _ := w.plan(items...); got != "cached; cached" {
		t.Errorf("after the fetch: %s", got)
	}
	if got, want := first(w.plan(listOf(list, name))), fmt.Sprintf("=%d/0", len(list.Raw)); got != want {
		t.Errorf("a list: %s, want %s", got, want)
	}
	w.lists(listOf(list, name)).ok()
	if got := first(w.plan(listOf(list, name))); got != "cached" {
		t.Errorf("a list that is there: %s", got)
	}
	wrong := listOf(list, name)
	wrong.ID = base.Digest
	if got := first(w.plan(wrong)); !strings.Contains(got, "not a manifest list") {
		t.Errorf("an image as a list: %s", got)
	}
}

func first(text string, _ []Planned) string { return text }

// origins returns the names recorded with the image; those without a fetch are in brackets.
func (w *world) origins(img *images.Image) (names []string, all []cache.Origin) {
	w.t.Helper()
	pub, err := cache.Open(w.cache).OpenImage(img.ID)
	must(err)
	defer pub.Close()
	all, err = pub.Origins()
	must(err)
	for _, o := range all {
		name := o.Name
		if o.Fetched.IsZero() {
			name = "(" + name + ")"
		}
		names = append(names, name)
	}
	return names, all
}

// TestOrigins checks the recorded origins of an image.
func TestOrigins(t *testing.T) {
	t.Parallel()
	list := images.NewList(images.Of(layered))
	_, name := serve(t, list)
	w, to := newWorld(t), newWorld(t)
	w.images(via(list, layered, name+":1")).ok()
	names, all := w.origins(layered)
	if !slices.Equal(names, []string{name + ":1"}) || all[0].Digest != list.Digest || all[0].From != "" || all[0].Transport != "" {
		t.Errorf("after the fetch: %+v", all)
	}
	path := filepath.Join(filepath.Dir(cache.Open(w.cache).ImagePath(layered.ID)), "source.json")
	before, err := os.Stat(path)
	must(err)
	raw, err := os.ReadFile(path)
	must(err)
	schema, err := os.ReadFile("../../schemas/source.schema.json")
	must(err)
	if err := request.DecodeDocument(schema, raw, &map[string]any{}); err != nil {
		t.Errorf("the record is not as its schema says: %v\n%s", err, raw)
	}
	other := via(list, layered, "127.0.0.1:1/other")
	w.images(via(list, layered, name+":1")).ok().cached(true)
	w.images(other).ok().cached(true)
	if after, err := os.Stat(path); err != nil || !os.SameFile(before, after) || !before.ModTime().Equal(after.ModTime()) {
		t.Errorf("an image that is there had its record written again: %v", err)
	}
	must(RecordNames(t.Context(), w.cache, []request.Item{other, via(list, layered, name+":1"), itemOf(images.New(), name)}))
	if names, _ := w.origins(layered); !slices.Equal(names, []string{"(127.0.0.1:1/other)", name + ":1"}) {
		t.Errorf("with another name: %s", names)
	}
	w.copyTo(to, via(list, layered, name)).ok()
	if names, _ := to.origins(layered); !slices.Equal(names, []string{"(127.0.0.1:1/other)", name + ":1"}) {
		t.Errorf("in a copy of the cache: %s", names)
	}
}

// TestOriginOfAMirror checks that the mirror is recorded, and that short names are recorded in full.
func TestOriginOfAMirror(t *testing.T) {
	t.Parallel()
	_, name := serve(t, layered)
	w := newWorld(t).alone()
	w.config(".config/containers/registries.conf", "[[registry]]\nprefix = \"docker.io/library\"\nlocation = \"127.0.0.1:1\"\n"+
		"[[registry.mirror]]\nlocation = \""+strings.TrimSuffix(name, "/name")+"\"\ninsecure = true\n")
	it := itemOf(layered, "name")
	it.Image.TLSVerify = true
	it.Image.Name = "docker.io/name"
	w.images(it).ok()
	_, all := w.origins(layered)
	if len(all) != 1 || all[0].Name != "docker.io/library/name" || !strings.HasSuffix(all[0].From, "/name") {
		t.Errorf("recorded is %+v", all)
	}
}
