package deploy

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"osbuild-containers/internal/layer"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/tree"
)

// times makes n lists of items and returns them as one.
func times(n int, list func(i int) []item) []item {
	var all []item
	for i := range n {
		all = append(all, list(i)...)
	}
	return all
}

// through are symbolic links to each other, each by a way that is long.
func through() []item {
	const links = 30
	return times(links, func(i int) []item {
		target := strings.Repeat("d/../", 200) + fmt.Sprint("l", i+1)
		if i == links-1 {
			target = "d"
		}
		return []item{symlink(fmt.Sprint("l", i), target)}
	})
}

// families are images of any size, each expensive in its own way.
var families = map[string]struct {
	layers  func(n int) [][]item
	exclude []string
}{
	"a file in the place of a directory of the layer above, again and again": {layers: func(n int) [][]item {
		return [][]item{
			times(n, func(int) []item { return []item{file("d")} }),
			times(n, func(i int) []item { return []item{directory(fmt.Sprint("d/", i))} }),
		}
	}},
	"a file in its place, and what it hides": {layers: func(n int) [][]item {
		return [][]item{
			append(times(n, func(i int) []item { return []item{directory(fmt.Sprint("d/", i, "/x"))} }), times(n, func(int) []item { return []item{file("d"), directory("d")} })...),
			times(n, func(i int) []item { return []item{directory(fmt.Sprint("d/", i))} }),
		}
	}},
	"a directory with files that becomes a file and back": {layers: func(n int) [][]item {
		return [][]item{append(
			times(n, func(i int) []item { return []item{file(fmt.Sprint("d/", i))} }),
			times(n, func(int) []item { return []item{file("d"), directory("d")} })...)}
	}},
	"a directory with whiteouts that becomes a link and back": {layers: func(n int) [][]item {
		return [][]item{append(
			times(n, func(i int) []item { return []item{file(fmt.Sprint("d/.wh.", i))} }),
			times(n, func(int) []item { return []item{symlink("d", "e"), directory("d")} })...)}
	}},
	"a directory with links that becomes a whiteout of overlayfs and back": {layers: func(n int) [][]item {
		return [][]item{append(
			times(n, func(i int) []item { return []item{symlink(fmt.Sprint("d/", i), "x")} }),
			times(n, func(int) []item { return []item{white("d"), directory("d")} })...)}
	}},
	"whiteouts of overlayfs that are links": {layers: func(n int) [][]item {
		return [][]item{append([]item{white("w")}, times(n, func(i int) []item { return []item{hardlink(fmt.Sprint("d/", i), "w")} })...)}
	}},
	"opaque, again and again": {layers: func(n int) [][]item {
		upper := times(n, func(i int) []item { return []item{file("d/.wh..wh..opq"), file(fmt.Sprint("d/", i))} })
		return [][]item{upper, upper, upper}
	}},
	"paths through links": {layers: func(n int) [][]item {
		return [][]item{append(through(), times(n, func(i int) []item { return []item{file(fmt.Sprint("l0/", i)), file("x")} })...)}
	}},
	"paths through links, to new links": {layers: func(n int) [][]item {
		return [][]item{append(through(), times(n, func(i int) []item {
			return []item{symlink(fmt.Sprint("l0/", i), "."), file(fmt.Sprint("l0/", i, "/f", i))}
		})...)}
	}},
	"hard links through links": {layers: func(n int) [][]item {
		return [][]item{append(append(through(), file("d/f")), times(n, func(i int) []item { return []item{hardlink(fmt.Sprint("h", i), "l0/f")} })...)}
	}},
	"a link that becomes a directory and back": {layers: func(n int) [][]item {
		return [][]item{times(n, func(i int) []item {
			return []item{symlink("l", "d"), file(fmt.Sprint("l/", i)), directory("l"), file(fmt.Sprint("l/", i))}
		})}
	}},
	"a chain of hard links": {layers: func(n int) [][]item {
		return [][]item{append([]item{file("h0")}, times(n, func(i int) []item { return []item{hardlink(fmt.Sprint("h", i+1), fmt.Sprint("h", i))} })...)}
	}},
	"a chain of hard links that is hidden, but for its end": {layers: func(n int) [][]item {
		return [][]item{
			append(append([]item{file("d/0")}, times(n, func(i int) []item { return []item{hardlink(fmt.Sprint("d/", i+1), fmt.Sprint("d/", i))} })...), hardlink("h", fmt.Sprint("d/", n))),
			{file("d/.wh..wh..opq")},
		}
	}},
	"hard links to a file that is replaced": {layers: func(n int) [][]item {
		return [][]item{times(n, func(i int) []item { return []item{file("f"), hardlink(fmt.Sprint("h", i), "f")} })}
	}},
	"hard links that are replaced": {layers: func(n int) [][]item {
		return [][]item{append(append([]item{file("f")}, times(n, func(i int) []item { return []item{hardlink(fmt.Sprint("h", i), "f")} })...),
			times(n, func(i int) []item { return []item{file(fmt.Sprint("h", i)), hardlink("g", "f")} })...)}
	}},
	"hard links to what is excluded": {exclude: []string{"x"}, layers: func(n int) [][]item {
		return [][]item{append([]item{file("x/f")}, times(n, func(i int) []item { return []item{hardlink(fmt.Sprint("h", i), "x/f")} })...)}
	}},
	"hard links to many files below": {layers: func(n int) [][]item {
		return [][]item{
			times(n, func(i int) []item { return []item{file(fmt.Sprint("d/", i))} }),
			times(n, func(i int) []item { return []item{hardlink(fmt.Sprint("h/", i), fmt.Sprint("d/", i))} }),
		}
	}},
	"hard links over many layers": {layers: func(n int) [][]item {
		layers := [][]item{times(n, func(i int) []item { return []item{file(fmt.Sprint("d/", i))} })}
		for range n / 4 {
			layers = append(layers, []item{file("e"), directory("d")})
		}
		return append(layers, times(n, func(i int) []item { return []item{hardlink(fmt.Sprint("h/", i), fmt.Sprint("d/", i))} }))
	}},
	"hard links from layer to layer": {layers: func(n int) [][]item {
		layers := [][]item{{file("f0")}}
		for i := range n / 4 {
			layers = append(layers, []item{hardlink(fmt.Sprint("f", i+1), fmt.Sprint("f", i))})
		}
		return append(layers, times(n, func(i int) []item { return []item{hardlink(fmt.Sprint("h/", i), fmt.Sprint("f", n/4))} }))
	}},
	"hidden hard links to what a layer between removes": {layers: func(n int) [][]item {
		var layers [][]item
		for range n / 4 {
			layers = append(layers, []item{file(".wh.d"), file("d/.wh..wh..opq"), file("e/.wh.1")})
		}
		return append(layers,
			times(n, func(i int) []item { return []item{hardlink(fmt.Sprint("h/", i), fmt.Sprint("d/", i))} }),
			[]item{file("h/.wh..wh..opq")})
	}},
	"deep directories, one after the other": {layers: func(n int) [][]item {
		deep := strings.Repeat("a/", 30)
		return [][]item{append(times(n, func(i int) []item { return []item{file(fmt.Sprint(i, "/", deep, "f"))} }),
			times(n, func(i int) []item { return []item{file(fmt.Sprint(i, "/", deep, "g"))} })...)}
	}},
	"deep directories that are hidden": {layers: func(n int) [][]item {
		deep := strings.Repeat(strings.Repeat("n", 30)+"/", 100)
		return [][]item{times(n, func(i int) []item { return []item{symlink(fmt.Sprint(i%7, "/", deep, i), "x")} }), {file(".wh..wh..opq")}}
	}},
	"deep directories that are excluded": {exclude: []string{"**/x*", "a/**/y", "!z"}, layers: func(n int) [][]item {
		deep := strings.Repeat("a/", 100)
		return [][]item{times(n, func(i int) []item { return []item{file(fmt.Sprint("x", i, "/", deep, "f"))} })}
	}},
	"the same file": {layers: func(n int) [][]item {
		return [][]item{times(n, func(int) []item { return []item{file("f"), symlink("f", "x"), file(".wh.f")} })}
	}},
	"hard links of each layer to those below": {layers: func(n int) [][]item {
		var layers [][]item
		for i := range n / 4 {
			layers = append(layers, []item{file(fmt.Sprint("d/", i)), hardlink("h", "d/0"), hardlink(fmt.Sprint("h", i), fmt.Sprint("d/", i+1))})
		}
		return append([][]item{times(n, func(i int) []item { return []item{file(fmt.Sprint("d/", i))} })}, layers...)
	}},
	"what aufs keeps": {layers: func(n int) [][]item {
		return [][]item{times(n, func(i int) []item {
			name := fmt.Sprint(".wh..wh.plnk/", i)
			return []item{file(name), hardlink(fmt.Sprint("f", i), name)}
		})}
	}},
}

// cost deploys an image and returns how many steps that takes, and for how many entries.
func cost(t *testing.T, layers [][]item, exclude []string) (steps, entries int64) {
	t.Helper()
	p := newPlace(t)
	if err := unix.Mount("none", p.tree, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Unmount(p.tree, unix.MNT_DETACH) }()
	var blobs []Layer
	for _, items := range layers {
		data := archive(t, items...)
		blobs = append(blobs, blob(data, data))
	}
	d, err := deployerIn(p.tree, blobs, Options{Exclude: exclude}, progress.NewLog(io.Discard))
	if err != nil {
		t.Fatal(err)
	}
	defer d.tree.Close()
	if err := d.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	return d.allSteps(), d.entries
}

// Twice the entries cost twice the work, and never much for an entry, whatever the image.
func TestWorkGrowsWithTheEntries(t *testing.T) {
	for name, f := range families {
		t.Run(name, func(t *testing.T) {
			const n = 200
			once, few := cost(t, f.layers(n), f.exclude)
			twice, entries := cost(t, f.layers(2*n), f.exclude)
			if float64(twice) > 2.2*float64(once) {
				t.Errorf("%d steps for %d entries, %d for %d", once, few, twice, entries)
			}
			if twice > entries*layer.DefaultDepth {
				t.Errorf("%d steps for %d entries", twice, entries)
			}
		})
	}
}

// What costs too much in spite of that is an error. A chain of symbolic links is
// followed again when one of them has changed.
func TestSteps(t *testing.T) {
	change := times(2000, func(i int) []item {
		return []item{symlink("l29", "d"), file(fmt.Sprint("l0/", i))}
	})
	data := archive(t, append(through(), change...)...)
	_, err := newPlace(t).deploy(t, Options{Exclude: []string{"d"}}, blob(data, data))
	if err == nil || !strings.Contains(err.Error(), "steps to merge the layer: more than the limit of ") {
		t.Errorf("error %v", err)
	}
}

// Attributes of hard links add up in one place.
func TestAttributesOfManyHardLinks(t *testing.T) {
	const n = 2000
	var f inode
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := range n {
		f.overlay(&tree.Meta{Xattrs: map[string]string{fmt.Sprint("user.", i): "1"}})
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > n<<11 {
		t.Errorf("%d headers took %d bytes", n, got)
	}
	if got := len(f.meta.Xattrs); got != n {
		t.Errorf("%d attributes, want %d", got, n)
	}
}

// What is remembered is counted, and counted for what the heap holds: so an image never
// needs more than the limit of bytes.
func TestMemoryIsCounted(t *testing.T) {
	const n = 10_000
	long := strings.Repeat("n", 200)
	wide := map[string]string{"user.a": strings.Repeat("x", 100), "user.b": "1"}
	for name, entry := range map[string]func(i int) layer.Entry{
		"files":                func(i int) layer.Entry { return layer.Entry{Name: fmt.Sprint("d/", i)} },
		"files in directories": func(i int) layer.Entry { return layer.Entry{Name: fmt.Sprint("d/", i, "/f")} },
		"names":                func(i int) layer.Entry { return layer.Entry{Name: fmt.Sprint("d/", i, long)} },
		"deep names":           func(i int) layer.Entry { return layer.Entry{Name: fmt.Sprint("d/", i, "/1/2/3/4/5/6/7/8/9")} },
		"directories":          func(i int) layer.Entry { return layer.Entry{Name: fmt.Sprint("d/", i), Type: layer.Dir} },
		"attributes":           func(i int) layer.Entry { return layer.Entry{Name: fmt.Sprint("d/", i), Type: layer.Dir, Xattrs: wide} },
		"links": func(i int) layer.Entry {
			return layer.Entry{Name: fmt.Sprint("d/", i), Type: layer.Symlink, Link: long}
		},
		"whiteouts":              func(i int) layer.Entry { return layer.Entry{Name: fmt.Sprint("d/.wh.", i)} },
		"opaque directories":     func(i int) layer.Entry { return layer.Entry{Name: fmt.Sprint("d/", i, "/.wh..wh..opq")} },
		"whiteouts of overlayfs": func(i int) layer.Entry { return layer.Entry{Name: fmt.Sprint("d/", i), Type: layer.Char} },
		"hidden": func(i int) layer.Entry {
			return layer.Entry{Name: fmt.Sprint("hidden/", i, "/a/b"), Type: layer.Symlink, Link: "x"}
		},
		"hard links": func(i int) layer.Entry {
			if i%2 == 0 {
				return layer.Entry{Name: fmt.Sprint("d/", i)}
			}
			return layer.Entry{Name: fmt.Sprint("d/", i), Type: layer.Hardlink, Link: fmt.Sprint("d/", i-1)}
		},
		"hard links to what is excluded": func(i int) layer.Entry {
			if i%2 == 0 {
				return layer.Entry{Name: fmt.Sprint("d/", i)}
			}
			return layer.Entry{Name: fmt.Sprint("h/", i), Type: layer.Hardlink, Link: fmt.Sprint("d/", i-1)}
		},
		"attributes of hard links": func(i int) layer.Entry {
			if i == 0 {
				return layer.Entry{Name: "d/0"}
			}
			return layer.Entry{Name: "d/1", Type: layer.Hardlink, Link: "d/0", Xattrs: map[string]string{fmt.Sprint("user.", i): "1"}}
		},
		"hard links to layers below": func(i int) layer.Entry {
			return layer.Entry{Name: fmt.Sprint("d/", i), Type: layer.Hardlink, Link: fmt.Sprint("e/", i)}
		},
	} {
		d, err := deployerIn(newPlace(t).tree, nil, Options{Exclude: []string{"d"}}, progress.NewLog(io.Discard))
		if err != nil {
			t.Fatal(err)
		}
		if err := d.entry(newLayer(3), &layer.Entry{Name: ".wh.hidden"}, nil); err != nil {
			t.Fatal(err)
		}
		l := newLayer(2)
		before := heap()
		for i := range n {
			e := entry(i)
			e.Index = i
			e.Link = partOfMore(e.Link)
			xattrs := map[string]string{}
			for name, value := range e.Xattrs {
				xattrs[partOfMore(name)] = partOfMore(value)
			}
			e.Xattrs = xattrs
			if err := d.entry(l, &e, strings.NewReader("")); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		if err := d.resolveLinks(t.Context(), l); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got := heap() - before
		if d.bytes < got*9/10-1<<18 {
			t.Errorf("%s: %d bytes are counted for %d entries, the heap has %d more", name, d.bytes, n, got)
		}
		runtime.KeepAlive(l)
		d.tree.Close()
	}
}

// partOfMore returns a text as it is in an archive: a part of a header.
func partOfMore(s string) string { return (s + strings.Repeat("x", 1<<10))[:len(s)] }

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
