package deploy

import (
	"archive/tar"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// Case is an image that is hard to merge.
type Case struct {
	Layers  []Layer
	Options Options
}

// Cases returns those of the tests of this package.
func Cases(t testing.TB) map[string]Case {
	t.Helper()
	cases := map[string]Case{}
	add := func(name string, layers [][]item, exclude []string) {
		c := Case{Options: Options{Exclude: exclude, Epoch: time.Unix(5, 0)}}
		for _, items := range layers {
			c.Layers = append(c.Layers, layerOf(t, items...))
		}
		cases[name] = c
	}
	for name, c := range mergeCases {
		add(name, c.layers, nil)
	}
	for name, c := range linkCases {
		add("hard links: "+name, c.layers, c.exclude)
	}
	return cases
}

// Tree deploys layers and returns a line for each path of the tree, with its metadata and content.
func Tree(t testing.TB, opt Options, layers ...Layer) string {
	t.Helper()
	p := newPlace(t)
	if _, err := p.deploy(t, opt, layers...); err != nil {
		return err.Error()
	}
	return TreeIn(t, p.tree)
}

// TreeIn is Tree for what is in a directory.
func TreeIn(t testing.TB, dir string) string {
	t.Helper()
	p := place{tree: dir}
	all := p.metadata(t)
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintln(&b, name, all[name])
	}
	return b.String() + strings.ReplaceAll(p.show(t), "\x00", "") // of sparse files
}

// Mixed returns layers with all that a file system has.
func Mixed(t testing.TB) []Layer {
	t.Helper()
	sparse, err := os.ReadFile("testdata/sparse-1.0.tar")
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("long/", 30) + "name"
	return []Layer{
		blob(sparse, sparse),
		layerOf(t, directory("d"), directory("d/e"), symlink("d/up", "../holes"), symlink("d/e/root", "/d"), file("d/e/f", "1"), owned(file("d/g", "2"), 7, 3_000_000), hardlink("d/again", "d/g")),
		layerOf(t, directory("d"), hardlink("other", "d/e/f"), xattr(file("ping", "x"), "security.capability", capNetRaw), xattr(xattr(file("acl"), "system.posix_acl_access", acl), "user.lab", "a=b"),
			item{Header: tar.Header{Typeflag: tar.TypeFifo, Name: "fifo", Mode: 0o600, ModTime: when}}, file(long, "l"), file("not \xff\xfe utf-8", "n"), item{Header: tar.Header{Typeflag: tar.TypeChar, Name: "null", Devmajor: 1, Devminor: 3, Mode: 0o666}}),
		layerOf(t, file("d/h", "3"), directory("empty").With(func(h *tar.Header) { h.Mode, h.ModTime = 0o1555, when }), hardlink("d/e/up", "d/up")),
	}
}

// LayerOf is the layer with the bytes of an archive.
func LayerOf(archive []byte) Layer { return blob(archive, archive) }
