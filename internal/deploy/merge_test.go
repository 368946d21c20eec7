package deploy

import (
	"archive/tar"
	"strings"
	"testing"
)

// white is a whiteout as overlayfs has it.
func white(name string) item {
	return item{Header: tar.Header{Typeflag: tar.TypeChar, Name: name}}
}

// mergeCases are layers, the lowest first, and what has to be in the tree.
var mergeCases = map[string]struct {
	layers [][]item
	want   string
}{
	"no layers": {nil, ""},
	"a whiteout stays when a directory was a file before, in its layer": {
		[][]item{{file("d", "f"), directory("d"), file("d/x", "low"), file("d/y", "low")}, {file("d/.wh.x")}},
		"d/ d/y=low",
	},
	"a whiteout stays when a directory was a link in between": {
		[][]item{{directory("d"), symlink("d", "e"), directory("d"), file("d/x", "low")}, {file("d/.wh.x")}},
		"d/",
	},
	"what a layer replaced itself hides nothing": {
		[][]item{{file("d/x", "low")}, {file("d/x", "mid"), file("d", "f"), directory("d")}, {file("d/y", "up")}},
		"d/ d/x=low d/y=up",
	},
	"a whiteout of overlayfs after a file, and a file after one": {
		[][]item{{file("a", "low"), file("b", "low")}, {file("a", "mid"), white("a"), white("b"), file("b", "mid")}},
		"b=mid",
	},
	"whiteouts of overlayfs are links to one of them": {
		[][]item{{file("a", "A"), directory("b"), file("b/x", "B"), file("c", "C")}, {white("a"), hardlink("b", "a"), directory("d"), hardlink("d/e", "b")}},
		"c=C d/",
	},
	"the marker of an opaque directory in a whiteout of overlayfs": {
		[][]item{{file("d/x", "low")}, {white("d"), file("d/.wh..wh..opq")}},
		"",
	},
	"a hard link to what took the place of a whiteout of overlayfs": {
		[][]item{{white("a"), file("a", "x"), hardlink("b", "a")}},
		"a=x b==a",
	},
	"aufs keeps files that have several links": {
		[][]item{{directory(".wh..wh.plnk"), file(".wh..wh.plnk/1.2", "x"), hardlink("a", ".wh..wh.plnk/1.2"), hardlink("b", ".wh..wh.plnk/1.2")}},
		"a=x b==a",
	},
	"a hard link to a link to itself": {
		[][]item{{file("p", "x"), hardlink("x", "p"), hardlink("p", "x")}, {file("x", "up")}},
		"p=x x=up",
	},
	"an empty layer": {
		[][]item{{file("a", "1")}, {}, {file("b", "2")}, {}},
		"a=1 b=2",
	},
	"a file replaces a file": {
		[][]item{{file("a", "old"), file("b", "stays")}, {file("a", "new")}},
		"a=new b=stays",
	},
	"directories merge": {
		[][]item{{directory("d"), file("d/a", "1")}, {directory("d"), file("d/b", "2")}},
		"d/ d/a=1 d/b=2",
	},
	"a whiteout removes a file and a directory": {
		[][]item{
			{directory("d"), file("d/gone", ""), directory("d/gonedir"), file("d/gonedir/x", ""), file("d/stays", "1")},
			{file("d/.wh.gone", ""), file("d/.wh.gonedir", ""), file("d/.wh.never", "")},
		},
		"d/ d/stays=1",
	},
	"a whiteout does not make its directory": {
		[][]item{{file("a", "1")}, {file("d/.wh.x", "")}},
		"a=1",
	},
	"a whiteout hides all layers below, not its own": {
		[][]item{{file("a", "1")}, {file("a", "2")}, {file(".wh.a", ""), file("b", "3")}, {}},
		"b=3",
	},
	"a whiteout and, after it, a file": {
		[][]item{{file("a", "lower")}, {file(".wh.a", ""), file("a", "upper")}},
		"a=upper",
	},
	"a file and, after it, its whiteout": {
		[][]item{{file("a", "lower")}, {file("a", "upper"), file(".wh.a", "")}},
		"a=upper",
	},
	"a whiteout and a directory of that name": {
		[][]item{{directory("d"), file("d/old", "")}, {file(".wh.d", ""), directory("d"), file("d/new", "1")}},
		"d/ d/new=1",
	},
	"a directory and, after it, its whiteout": {
		[][]item{{directory("d"), file("d/old", "")}, {directory("d"), file("d/new", "1"), file(".wh.d", "")}},
		"d/ d/new=1",
	},
	"a whiteout below a whiteout": {
		[][]item{{directory("d"), file("d/x", "")}, {file(".wh.d", ""), file("d/.wh.x", "")}},
		"",
	},
	"a directory that comes back after a whiteout": {
		[][]item{{directory("d"), file("d/old", "")}, {file(".wh.d", "")}, {directory("d"), file("d/new", "1")}},
		"d/ d/new=1",
	},
	"an opaque directory, marked first": {
		[][]item{{directory("d"), file("d/old", ""), directory("d/sub"), file("d/sub/x", "")}, {directory("d"), file("d/.wh..wh..opq", ""), file("d/new", "1")}},
		"d/ d/new=1",
	},
	"an opaque directory, marked last": {
		[][]item{{directory("d"), file("d/old", "")}, {directory("d"), file("d/new", "1"), file("d/.wh..wh..opq", "")}},
		"d/ d/new=1",
	},
	"an opaque directory that is only marked": {
		[][]item{{directory("d"), file("d/old", "")}, {file("d/.wh..wh..opq", "")}},
		"d/",
	},
	"an opaque directory in an attribute": {
		[][]item{{directory("d"), file("d/old", "")}, {directory("d").With(func(h *tar.Header) {
			h.PAXRecords = map[string]string{"SCHILY.xattr.trusted.overlay.opaque": "y"}
		})}},
		"d/",
	},
	"an opaque root": {
		[][]item{{file("old", "")}, {file(".wh..wh..opq", ""), file("new", "1")}},
		"new=1",
	},
	"a file becomes a directory and a directory a file": {
		[][]item{{file("a", ""), directory("d"), file("d/x", "")}, {directory("a"), file("a/x", "1"), file("d", "2")}},
		"a/ a/x=1 d=2",
	},
	"a directory over a symbolic link replaces it": {
		[][]item{{directory("usr"), directory("usr/lib"), file("usr/lib/old", "1"), symlink("lib", "usr/lib")}, {directory("lib"), file("lib/new", "2")}},
		"lib/ lib/new=2 usr/ usr/lib/ usr/lib/old=1",
	},
	"a path through a symbolic link of the layer below is a directory": {
		[][]item{{directory("usr"), directory("usr/lib"), symlink("lib", "usr/lib")}, {file("lib/new", "2")}},
		"lib/ lib/new=2 usr/ usr/lib/",
	},
	"a path through a symbolic link of the same layer is followed": {
		[][]item{{directory("usr"), directory("usr/lib"), symlink("lib", "usr/lib"), file("lib/new", "2")}},
		"lib->usr/lib usr/ usr/lib/ usr/lib/new=2",
	},
	"directories over, under and between a file": {
		[][]item{{directory("d"), file("d/lowest", "")}, {file("d", "")}, {directory("d"), file("d/top", "1")}},
		"d/ d/top=1",
	},
	"the same path twice: the last counts": {
		[][]item{{file("a", "first"), file("a", "second"), file("b", ""), directory("b"), file("b/x", "1"), directory("c"), file("c/x", ""), file("c", "2")}},
		"a=second b/ b/x=1 c=2",
	},
	"the same path twice, over other layers": {
		[][]item{
			{directory("d"), file("d/lower", "")},
			{directory("d"), file("d/middle", ""), file("d", "now a file")},
			{directory("d"), file("d/upper", "1")},
		},
		"d/ d/upper=1",
	},
	"a directory that was a file earlier in the layer merges": {
		[][]item{{directory("d"), file("d/lower", "1")}, {file("d", ""), directory("d"), file("d/upper", "2")}},
		"d/ d/lower=1 d/upper=2",
	},
	"directories that no layer has": {
		[][]item{{file("a/b/c", "1")}},
		"a/ a/b/ a/b/c=1",
	},
	"names that are not clean": {
		[][]item{{directory("./"), file("./a", "1"), file("b//c", "2"), file("d/../e", "3"), directory("f/")}},
		"a=1 b/ b/c=2 e=3 f/",
	},
	"what aufs leaves behind": {
		[][]item{{file(".wh..wh.aufs", ""), directory(".wh..wh.plnk"), file(".wh..wh.plnk/1.2", ""), file("a", "1")}},
		"a=1",
	},
	"a device 0:0 is a whiteout": {
		[][]item{{file("a", "")}, {white("a")}},
		"",
	},
	"a global header is not an entry": {
		[][]item{{item{Header: tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "pax_global_header", PAXRecords: map[string]string{"comment": "x"}}}, file("a", "1")}},
		"a=1",
	},
}

func TestLayersMerge(t *testing.T) {
	for name, c := range mergeCases {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			var layers []Layer
			for _, items := range c.layers {
				layers = append(layers, layerOf(t, items...))
			}
			if _, err := p.deploy(t, Options{}, layers...); err != nil {
				t.Fatal(err)
			}
			if got := p.show(t); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// linkCases have excluded paths, too.
var linkCases = map[string]struct {
	layers  [][]item
	exclude []string
	want    string
}{
	"in a layer": {
		[][]item{{file("a", "1"), hardlink("b", "a"), directory("d"), hardlink("d/c", "/b")}},
		nil,
		"a=1 b==a d/ d/c==a",
	},
	"the first name is replaced above": {
		[][]item{{file("a", "old"), hardlink("b", "a"), hardlink("c", "a")}, {file("a", "new")}},
		nil,
		"a=new b=old c==b",
	},
	"the first name is removed above": {
		[][]item{{file("a", "old"), hardlink("b", "a"), hardlink("c", "b")}, {file(".wh.a", "")}},
		nil,
		"b=old c==b",
	},
	"another name is replaced above": {
		[][]item{{file("a", "old"), hardlink("b", "a"), hardlink("c", "b")}, {file("b", "new")}},
		nil,
		"a=old b=new c==a",
	},
	"the target is replaced later in its layer": {
		[][]item{{file("a", "first"), hardlink("b", "a"), file("a", "second")}},
		nil,
		"a=second b=first",
	},
	"the link is replaced later in its layer": {
		[][]item{{file("a", "1"), hardlink("b", "a"), file("b", "2")}},
		nil,
		"a=1 b=2",
	},
	"the first name is excluded": {
		[][]item{{file("doc/a", "1"), hardlink("b", "doc/a"), hardlink("c", "doc/a")}},
		[]string{"doc"},
		"b=1 c==b",
	},
	"to a symbolic link": {
		[][]item{{symlink("a", "to"), hardlink("b", "a")}},
		nil,
		"a->to b->to",
	},
	"to a layer below": {
		[][]item{{file("a", "1")}, {hardlink("b", "a")}},
		nil,
		"a=1 b==a",
	},
	"to a layer below, over a layer between": {
		[][]item{{file("d/a", "1")}, {file("x", "")}, {hardlink("b", "d/a"), hardlink("c", "b")}},
		nil,
		"b=1 c==b d/ d/a==b x=",
	},
	"to a layer below, as it was then": {
		[][]item{{file("a", "lowest")}, {file("a", "lower")}, {hardlink("b", "a")}, {file("a", "top")}},
		nil,
		"a=top b=lower",
	},
	"to what a layer above removes": {
		[][]item{{file("a", "1")}, {hardlink("b", "a")}, {file(".wh.a", "")}},
		nil,
		"b=1",
	},
	"to what its own layer replaces after it": {
		[][]item{{file("a", "lower")}, {hardlink("b", "a"), file("a", "upper")}},
		nil,
		"a=upper b=lower",
	},
	"to a link of a layer below": {
		[][]item{{file("a", "1"), hardlink("b", "a")}, {hardlink("c", "b")}},
		nil,
		"a=1 b==a c==a",
	},
	"to a link of a layer below whose target is replaced after it": {
		[][]item{{file("a", "1"), hardlink("b", "a"), symlink("a", "x")}, {hardlink("c", "b")}},
		nil,
		"a->x b=1 c==b",
	},
	"to a file of a layer below whose directory becomes a file after it": {
		[][]item{{file("d/a", "1"), hardlink("b", "d/a"), file("d", "2")}, {hardlink("c", "b")}},
		nil,
		"b=1 c==b d=2",
	},
	"to a link of a layer below that links to one below it": {
		[][]item{{file("a", "1")}, {hardlink("b", "a")}, {hardlink("c", "b")}},
		nil,
		"a=1 b==a c==a",
	},
	"to an excluded file of a layer below": {
		[][]item{{file("a", "1")}, {hardlink("b", "a")}},
		[]string{"a"},
		"b=1",
	},
	"the example of docs/design": {
		[][]item{{file("d/a", "1"), file("d/c", "2"), symlink("e", "d"), file("e/f", "3")}, {file("d/.wh.a"), hardlink("b", "d/c")}},
		nil,
		"b=2 d/ d/c==b d/f=3 e->d",
	},
	"through a symbolic link of the layer": {
		[][]item{{directory("usr"), symlink("lib", "/usr"), file("usr/a", "1"), hardlink("b", "lib/a")}},
		nil,
		"b=1 lib->/usr usr/ usr/a==b",
	},
}

func TestHardLinks(t *testing.T) {
	for name, c := range linkCases {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			var layers []Layer
			for _, items := range c.layers {
				layers = append(layers, layerOf(t, items...))
			}
			if _, err := p.deploy(t, Options{Exclude: c.exclude}, layers...); err != nil {
				t.Fatal(err)
			}
			if got := p.show(t); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// What a layer hides cannot be the target of hard links of the layers above it, though a
// layer below has it.
func TestHardLinksToWhatIsHidden(t *testing.T) {
	for name, hiding := range map[string][]item{
		"a whiteout":                          {file("d/.wh.a")},
		"a whiteout of the directory":         {file(".wh.d")},
		"an opaque directory":                 {file("d/.wh..wh..opq")},
		"a file":                              {file("d", "2")},
		"a symbolic link":                     {symlink("d", "e")},
		"a whiteout of overlayfs":             {white("d")},
		"a whiteout of overlayfs over a file": {file("d/a", "2"), white("d/a")},
	} {
		p := newPlace(t)
		_, err := p.deploy(t, Options{}, layerOf(t, file("d/a", "1")), layerOf(t, hiding...), layerOf(t, hardlink("b", "d/a")))
		if err == nil || !strings.Contains(err.Error(), `"b": hard link to "d/a", which neither its layer 3 nor those below have`) {
			t.Errorf("%s: error %v, and there are %s", name, err, p.show(t))
		}
	}
}
