package deploy

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/tree"
)

// onto is a directory that layers are put onto.
type onto struct {
	treeRoot
	top string
}

func (o onto) Exists(name string) (exists, isDir bool, err error) {
	var st unix.Stat_t
	switch err := unix.Lstat(filepath.Join(o.top, name), &st); {
	case err == unix.ENOENT || err == unix.ENOTDIR:
		return false, false, nil
	case err != nil:
		return false, false, err
	}
	// Names must not run through symbolic links.
	for parent, _ := split(name); parent != "."; parent, _ = split(parent) {
		if _, isLink := o.Readlink(parent); isLink {
			return false, false, nil
		}
	}
	return true, st.Mode&unix.S_IFMT == unix.S_IFDIR, nil
}

func (o onto) List(name string) (names []string, err error) {
	entries, err := os.ReadDir(filepath.Join(o.top, name))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

// deployEach deploys layers one by one, and calls done with what each makes of those below.
func (p place) deployEach(t testing.TB, opt Options, done func(k int, tree string), layers ...Layer) error {
	t.Helper()
	root, err := tree.Open(p.tree)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	dest := onto{treeRoot{root}, p.tree}
	return Each(t.Context(), dest, layers, opt, progress.NewLog(io.Discard), func(k int) error {
		done(k, p.show(t))
		return nil
	})
}

// What the layers make one after the other is what they make together, after each of them.
func TestLayersOneByOne(t *testing.T) {
	type image struct {
		layers  [][]item
		exclude []string
	}
	images := map[string]image{}
	for name, c := range mergeCases {
		images[name] = image{layers: c.layers}
	}
	for name, c := range linkCases {
		images["hard links: "+name] = image{c.layers, c.exclude}
	}
	refused := map[string]string{
		"a directory that was a file earlier in the layer merges": `"d": the layer has it twice, as a directory and as something else`,
		"what a layer replaced itself hides nothing":              `"d": the layer has it twice, as a directory and as something else`,
		"hard links: to an excluded file of a layer below":        `"b": hard link to "a", which neither its layer 2 nor those below have`,
	}
	for name, c := range images {
		t.Run(name, func(t *testing.T) {
			var layers []Layer
			for _, items := range c.layers {
				layers = append(layers, layerOf(t, items...))
			}
			var want []string
			for k := range layers {
				p := newPlace(t)
				if _, err := p.deploy(t, Options{Exclude: c.exclude}, layers[:k+1]...); err != nil {
					return // the layers below do not have what the others link to
				}
				want = append(want, p.show(t))
			}
			var got []string
			err := newPlace(t).deployEach(t, Options{Exclude: c.exclude}, func(_ int, tree string) { got = append(got, tree) }, layers...)
			if text := refused[name]; text != "" {
				if err == nil || !strings.Contains(err.Error(), text) || !strings.Contains(hint.Of(err).Flag, "--format=ext4") {
					t.Fatalf("error %v with the hint %q, want %q", err, hint.Of(err).Flag, text)
				}
				return
			}
			if fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) || err != nil {
				t.Errorf("got  %q, %v\nwant %q", got, err, want)
			}
		})
	}
}

func TestRandomLayersOneByOne(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	same := 0
	for range rounds {
		data := make([]byte, 3*(2+rnd.IntN(20)))
		for i := range data {
			data[i] = byte(rnd.Uint32())
		}
		var layers []Layer
		for _, items := range script(data) {
			layers = append(layers, layerOf(t, items...))
		}
		p := newPlace(t)
		if _, err := p.deploy(t, Options{}, layers...); err != nil {
			continue
		}
		var got string
		err := newPlace(t).deployEach(t, Options{}, func(_ int, tree string) { got = tree }, layers...)
		switch {
		case err != nil && (strings.Contains(err.Error(), "has it twice") || strings.Contains(err.Error(), "hard link to")):
		case err != nil || got != p.show(t):
			t.Fatalf("got  %s, %v\nwant %s\nof   %s", got, err, p.show(t), tell(script(data)))
		default:
			same++
		}
	}
	if same < rounds/5 {
		t.Errorf("only %d of %d could be compared", same, rounds)
	}
}

func TestEndsWhenDoneFails(t *testing.T) {
	failure := errors.New("full")
	p := newPlace(t)
	root, err := tree.Open(p.tree)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	err = Each(t.Context(), onto{treeRoot{root}, p.tree}, []Layer{layerOf(t, file("a")), layerOf(t, file("b"))}, Options{},
		progress.NewLog(io.Discard), func(int) error { return failure })
	if got := p.show(t); !errors.Is(err, failure) || got != "a=" {
		t.Errorf("error %v, and there are %s", err, got)
	}
}

// Where only sizes count, layers are read concurrently: here each waits until all are open.
func TestSizesAreReadConcurrently(t *testing.T) {
	for name, run := range map[string]func(p place, layers []Layer) error{
		"one by one": func(p place, layers []Layer) error {
			return p.deployEach(t, Options{SizesOnly: true}, func(int, string) {}, layers...)
		},
		"merged": func(p place, layers []Layer) error {
			root, err := tree.Open(p.tree)
			if err != nil {
				return err
			}
			defer root.Close()
			return To(t.Context(), treeRoot{root}, layers, Options{SizesOnly: true}, progress.NewLog(io.Discard))
		},
	} {
		t.Run(name, func(t *testing.T) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(3))
			layers := []Layer{layerOf(t, file("a", "1"), file("b", "2")), layerOf(t, file("c", "33")), layerOf(t, file("a", "444"))}
			var begun sync.WaitGroup
			begun.Add(len(layers))
			for i := range layers {
				open := layers[i].Open
				layers[i].Open = func() (io.ReadCloser, error) {
					begun.Done()
					begun.Wait()
					return open()
				}
			}
			p := newPlace(t)
			if err := run(p, layers); err != nil {
				t.Fatal(err)
			}
			if got, want := p.show(t), "a=\x00\x00\x00 b=\x00 c=\x00\x00"; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}
