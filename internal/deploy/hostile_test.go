package deploy

import (
	"archive/tar"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Names that lead out of the tree are contained, as under chroot. Place.deploy fails
// the test when anything outside of the tree changes.
func TestNothingLeavesTheTree(t *testing.T) {
	outside := func(p place) string { return strings.TrimPrefix(p.outside, "/") }
	for name, c := range map[string]struct {
		layers func(p place) [][]item
		want   func(p place) string // what is in the tree, "" when it does not matter
		err    string               // or why it fails
	}{
		"dots": {
			layers: func(place) [][]item { return [][]item{{file("../outside/canary", "x"), file("d/../../../e", "y")}} },
			want:   func(place) string { return "e=y outside/ outside/canary=x" },
		},
		"an absolute name": {
			layers: func(p place) [][]item { return [][]item{{file(p.outside+"/canary", "x")}} },
			want: func(p place) string {
				var b strings.Builder
				for i, c := range outside(p) {
					if c == '/' {
						b.WriteString(outside(p)[:i] + "/ ")
					}
				}
				return b.String() + outside(p) + "/ " + outside(p) + "/canary=x"
			},
		},
		"through a symbolic link of the layer": {
			layers: func(place) [][]item { return [][]item{{symlink("esc", "../outside"), file("esc/canary", "x")}} },
			want:   func(place) string { return "esc->../outside outside/ outside/canary=x" },
		},
		"through an absolute symbolic link of the layer": {
			layers: func(place) [][]item { return [][]item{{symlink("esc", "/out"), file("esc/canary", "x")}} },
			want:   func(place) string { return "esc->/out out/ out/canary=x" },
		},
		"through a symbolic link of the layer below": {
			layers: func(p place) [][]item {
				return [][]item{{symlink("esc", p.outside)}, {file("esc/canary", "x")}}
			},
			want: func(place) string { return "esc/ esc/canary=x" },
		},
		"through a symbolic link of the layer above": {
			layers: func(p place) [][]item {
				return [][]item{{file("esc/canary", "x")}, {symlink("esc", p.outside)}}
			},
			want: func(p place) string { return "esc->" + p.outside },
		},
		"a directory becomes a symbolic link": {
			layers: func(p place) [][]item {
				return [][]item{{directory("d"), file("d/a", ""), symlink("d", p.outside), file("d/canary", "x")}}
			},
		},
		"a hard link outwards": {
			layers: func(place) [][]item { return [][]item{{hardlink("h", "../outside/canary")}} },
			err:    `"h": hard link to "outside/canary", which neither its layer 1 nor those below have`,
		},
		"a hard link through a symbolic link outwards": {
			layers: func(p place) [][]item { return [][]item{{symlink("esc", p.outside), hardlink("h", "esc/canary")}} },
			err:    "which neither its layer 1 nor those below have",
		},
		"a hard link to a directory": {
			layers: func(place) [][]item { return [][]item{{directory("d"), hardlink("h", "d")}} },
			err:    `"h": hard link to "d", which is a directory`,
		},
		"a hard link to itself": {
			layers: func(place) [][]item { return [][]item{{hardlink("h", "./h")}} },
			err:    `"h": a hard link to itself`,
		},
		"a hard link that a whiteout cuts": {
			layers: func(place) [][]item { return [][]item{{file("a", "")}, {file(".wh.a", "")}, {hardlink("h", "a")}} },
			err:    `"h": hard link to "a", which neither its layer 3 nor those below have`,
		},
		"a whiteout of the directory above": {
			layers: func(place) [][]item { return [][]item{{file("d/.wh...", "")}} },
			err:    `"d/.wh...": a whiteout of nothing, of its own directory or of its parent`,
		},
		"a whiteout of its own directory": {
			layers: func(place) [][]item { return [][]item{{file(".wh..", "")}} },
			err:    `".wh..": a whiteout of nothing`,
		},
		"a whiteout of nothing": {
			layers: func(place) [][]item { return [][]item{{file(".wh.", "")}} },
			err:    `".wh.": a whiteout of nothing`,
		},
		"a whiteout through a symbolic link": {
			layers: func(place) [][]item {
				return [][]item{{file("a", "1")}, {symlink("esc", "../outside"), file("esc/.wh.canary", "")}}
			},
			want: func(place) string { return "a=1 esc->../outside" },
		},
		"a whiteout with something in it": {
			layers: func(place) [][]item { return [][]item{{file(".wh.d/x", "")}} },
			err:    `".wh.d/x": a path below a whiteout`,
		},
		"symbolic links in a circle": {
			layers: func(place) [][]item { return [][]item{{symlink("a", "b"), symlink("b", "a"), file("a/x", "")}} },
			err:    `"a/x": "a" runs through too many symbolic links`,
		},
		"something in a file": {
			layers: func(place) [][]item { return [][]item{{file("a", ""), file("a/x", "")}} },
			err:    `"a/x": a directory is needed where the layer has something else`,
		},
		"the root as a symbolic link": {
			layers: func(p place) [][]item { return [][]item{{symlink("/", p.outside)}} },
			err:    `the root must be a directory`,
		},
		"an invalid owner": {
			layers: func(place) [][]item {
				return [][]item{{file("a", "").With(func(h *tar.Header) { h.Uid = 1<<32 - 1 })}}
			},
			err: `"a": uid 4294967295 is not an id`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			var layers []Layer
			for _, items := range c.layers(p) {
				layers = append(layers, layerOf(t, items...))
			}
			_, err := p.deploy(t, Options{}, layers...)
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v, want one with %s", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if c.want == nil {
				return
			}
			if got, want := p.show(t), c.want(p); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

// The contents of the tree before are as hostile as a layer.
func TestTreeThatHasContent(t *testing.T) {
	for name, c := range map[string]struct {
		before func(t *testing.T, p place)
		layer  []item
		want   string
		err    string
	}{
		"directories merge, files are replaced": {
			before: func(t *testing.T, p place) {
				mkdir(t, p, "d")
				write(t, p, "d/mine", "mine")
				write(t, p, "d/a", "mine")
			},
			layer: []item{directory("d"), file("d/a", "theirs"), file("b", "theirs")},
			want:  "b=theirs d/ d/a=theirs d/mine=mine",
		},
		"a file is not written through a hard link": {
			before: func(t *testing.T, p place) {
				if err := os.Link(p.outside+"/canary", p.tree+"/a"); err != nil {
					t.Fatal(err)
				}
			},
			layer: []item{file("a", "theirs")},
			want:  "a=theirs",
		},
		"a file is not written through a symbolic link": {
			before: func(t *testing.T, p place) { link(t, p, "../outside/canary", "a") },
			layer:  []item{file("a", "theirs")},
			want:   "a=theirs",
		},
		"a symbolic link replaces a symbolic link": {
			before: func(t *testing.T, p place) { link(t, p, "../outside", "a") },
			layer:  []item{symlink("a", "elsewhere")},
			want:   "a->elsewhere",
		},
		"a hard link replaces a symbolic link": {
			before: func(t *testing.T, p place) { link(t, p, "../outside/canary", "b") },
			layer:  []item{file("a", "1"), hardlink("b", "a")},
			want:   "a=1 b==a",
		},
		"a hard link is not to a file of the tree before": {
			before: func(t *testing.T, p place) { write(t, p, "a", "mine") },
			layer:  []item{hardlink("b", "a")},
			err:    "which neither its layer 1 nor those below have",
		},
		"a directory over a symbolic link": {
			before: func(t *testing.T, p place) { link(t, p, "../outside", "d") },
			layer:  []item{directory("d"), file("d/canary", "x")},
			err:    `make directory "d": exists in the tree and is not a directory`,
		},
		"a path through a symbolic link": {
			before: func(t *testing.T, p place) { link(t, p, "../outside", "d") },
			layer:  []item{file("d/canary", "x")},
			err:    `make directory "d": exists in the tree and is not a directory`,
		},
		"a directory over a file": {
			before: func(t *testing.T, p place) { write(t, p, "d", "") },
			layer:  []item{directory("d")},
			err:    `make directory "d": exists in the tree and is not a directory`,
		},
		"a file over a directory": {
			before: func(t *testing.T, p place) { mkdir(t, p, "a") },
			layer:  []item{file("a", "")},
			err:    `create "a": is a directory in the tree`,
		},
		"a whiteout leaves it": {
			before: func(t *testing.T, p place) { mkdir(t, p, "d"); write(t, p, "d/mine", "mine") },
			layer:  []item{file(".wh.d", ""), directory("e"), file("e/.wh..wh..opq", "")},
			want:   "d/ d/mine=mine e/",
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			c.before(t, p)
			if name == "a file is not written through a hard link" {
				// The count of names changes; the content must not.
				if err := Deploy(t.Context(), p.tree, []Layer{layerOf(t, c.layer...)}, Options{}, nil); err != nil {
					t.Fatal(err)
				}
				if b, err := os.ReadFile(p.outside + "/canary"); err != nil || string(b) != "sings" {
					t.Errorf("the other name has %q, error %v", b, err)
				}
				return
			}
			_, err := p.deploy(t, Options{}, layerOf(t, c.layer...))
			switch {
			case c.err != "":
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Errorf("error %v, want one with %s", err, c.err)
				}
			case err != nil:
				t.Error(err)
			default:
				if got := p.show(t); got != c.want {
					t.Errorf("got  %s\nwant %s", got, c.want)
				}
			}
		})
	}
}

func mkdir(t *testing.T, p place, name string) {
	t.Helper()
	if err := os.Mkdir(filepath.Join(p.tree, name), 0o755); err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, p place, name, body string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(p.tree, name), []byte(body), 0o644); err != nil {
		t.Fatal(err)
	}
}

func link(t *testing.T, p place, target, name string) {
	t.Helper()
	if err := os.Symlink(target, filepath.Join(p.tree, name)); err != nil {
		t.Fatal(err)
	}
}
