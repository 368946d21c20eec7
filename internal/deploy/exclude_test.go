package deploy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestExclude(t *testing.T) {
	layers := func(t *testing.T) []Layer {
		return []Layer{
			layerOf(t, directory("usr"), directory("usr/lib"), file("usr/lib/a.so"), directory("usr/lib/modules"), file("usr/lib/modules/m"),
				symlink("lib", "usr/lib"), symlink("abs", "/usr/lib"), directory("bin"), file("bin/["), file("bin/ls"), file("!x")),
			layerOf(t, directory("usr/share"), directory("usr/share/doc"), file("usr/share/doc/x"), directory("usr/share/doc/p"), file("usr/share/doc/p/y"), file("usr/share/documents")),
		}
	}
	const all = "!x= abs->/usr/lib bin/ bin/[= bin/ls= lib->usr/lib usr/ usr/lib/ usr/lib/a.so= usr/lib/modules/ usr/lib/modules/m= " +
		"usr/share/ usr/share/doc/ usr/share/doc/p/ usr/share/doc/p/y= usr/share/doc/x= usr/share/documents="
	for name, c := range map[string]struct {
		exclude []string
		without []string
		log     string
	}{
		"a path":                        {[]string{"usr/share/doc"}, []string{"usr/share/doc/", "usr/share/doc/p/", "usr/share/doc/p/y=", "usr/share/doc/x="}, ""},
		"with slashes":                  {[]string{"//usr/share/doc/"}, []string{"usr/share/doc/", "usr/share/doc/p/", "usr/share/doc/p/y=", "usr/share/doc/x="}, ""},
		"with a dot":                    {[]string{"./bin/./ls"}, []string{"bin/ls="}, ""},
		"up and down within the tree":   {[]string{"usr/../bin/ls"}, []string{"bin/ls="}, ""},
		"a glob":                        {[]string{"usr/*/*.so"}, []string{"usr/lib/a.so="}, ""},
		"a glob in any directory":       {[]string{"**/m"}, []string{"usr/lib/modules/m="}, ""},
		"a glob that means directories": {[]string{"usr/share/d?c"}, []string{"usr/share/doc/", "usr/share/doc/p/", "usr/share/doc/p/y=", "usr/share/doc/x="}, ""},
		"an exception":                  {[]string{"usr/share/doc", "!usr/share/doc/p"}, []string{"usr/share/doc/x="}, ""},
		"a name that is a bad glob":     {[]string{"bin/["}, []string{"bin/[="}, ""},
		"through a link":                {[]string{"lib/modules"}, []string{"usr/lib/modules/", "usr/lib/modules/m="}, ""},
		"through an absolute link":      {[]string{"/abs/a.so"}, []string{"usr/lib/a.so="}, ""},
		"the link itself":               {[]string{"lib"}, []string{"lib->usr/lib"}, ""},
		"nothing":                       {[]string{"usr/share/do", "no/such"}, nil, "warning: exclude \"usr/share/do\" matched nothing\nwarning: exclude \"no/such\" matched nothing\n"},
		"outside":                       {[]string{"../outside", "/usr/../../x"}, nil, "warning: exclude \"../outside\" leads out of the tree and was ignored\nwarning: exclude \"/usr/../../x\" leads out of the tree and was ignored\n"},
		"outside through a link":        {[]string{"abs/../../outside"}, nil, "leads out of the tree and was ignored"},
		"a glob that matches nothing":   {[]string{"*.pyc"}, nil, `warning: exclude "*.pyc" matched nothing`},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			log, err := p.deploy(t, Options{Exclude: c.exclude}, layers(t)...)
			if err != nil {
				t.Fatal(err)
			}
			want := " " + all + " "
			for _, w := range c.without {
				want = strings.Replace(want, " "+w+" ", " ", 1)
			}
			if got := p.show(t); got != strings.TrimSpace(want) {
				t.Errorf("got  %s\nwant %s", got, strings.TrimSpace(want))
			}
			if !strings.Contains(log, c.log) || c.log == "" && strings.Contains(log, "warning") {
				t.Errorf("log %s\nwant %s", log, c.log)
			}
		})
	}
}

// What an excluded path means is what it leads to in the tree, whatever layers had there
// before. What it is in is there, whatever the excluded path is.
func TestExcludeInLayers(t *testing.T) {
	for name, c := range map[string]struct {
		layers [][]item
		want   string
	}{
		"through a link over a directory":     {[][]item{{file("a/b")}, {symlink("a", "c"), file("c/b")}}, "a->c c/"},
		"through a link that was a directory": {[][]item{{file("a/b"), symlink("l", "/c"), hardlink("a", "l"), file("c/b")}}, "a->/c c/ l->/c"},
		"a directory":                         {[][]item{{directory("a/b")}}, "a/"},
		"a file":                              {[][]item{{file("a/b")}}, "a/"},
		"a hard link":                         {[][]item{{file("f"), hardlink("a/b", "f")}}, "a/ f="},
		"an opaque directory":                 {[][]item{{file("a/b/.wh..wh..opq")}}, "a/"},
		"one that hides":                      {[][]item{{file("a/b/x")}, {file("a/b/.wh..wh..opq")}}, "a/"},
		"one that is hidden":                  {[][]item{{file("a/b/.wh..wh..opq")}, {file("a/.wh.b")}}, "a/"},
		"what is below a file":                {[][]item{{file("a/b/x")}, {file("a/b")}}, "a/"},
		"through a link to itself":            {[][]item{{symlink("a", "a")}}, "a->a"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			var layers []Layer
			for _, items := range c.layers {
				layers = append(layers, layerOf(t, items...))
			}
			if _, err := p.deploy(t, Options{Exclude: []string{"a/b"}}, layers...); err != nil {
				t.Fatal(err)
			}
			if got := p.show(t); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// What the tree had under that name stays, so it was not written and then removed.
func TestExcludedIsNeverWritten(t *testing.T) {
	p := newPlace(t)
	mkdir(t, p, "d")
	write(t, p, "d/a", "mine")
	if _, err := p.deploy(t, Options{Exclude: []string{"d/a"}}, layerOf(t, file("d/a", "theirs"))); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(p.tree, "d/a")); err != nil || string(b) != "mine" {
		t.Errorf("d/a has %q, error %v", b, err)
	}
}

// A disk with room for the finished tree has room enough: what a layer above
// replaces, removes or hides, and what is excluded, is not written, or makes way.
func TestNothingIsWrittenInVain(t *testing.T) {
	p := newPlace(t)
	if err := unix.Mount("none", p.tree, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Unmount(p.tree, 0) }()
	big := strings.Repeat("x", 3<<20)
	_, err := p.deploy(t, Options{Exclude: []string{"doc", "**/*.pyc"}},
		layerOf(t, file("replaced", big), file("removed", big), file("d/in", big), file("e/in", big), file("f", big), file("g/h", big), file("doc/x", big), file("lib/x.pyc", big)),
		layerOf(t, file("replaced", "small"), file(".wh.removed"), directory("d"), file("d/.wh..wh..opq"), file(".wh.e"), directory("f"), file("g", "a file")))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := p.show(t), "d/ f/ g=a file lib/ replaced=small"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestTheWholeTreeIsNotExcluded(t *testing.T) {
	for _, text := range []string{"/", ".", "", "usr/..", "!/"} {
		_, err := newPlace(t).deploy(t, Options{Exclude: []string{text}}, layerOf(t, file("a")))
		if err == nil || !strings.Contains(err.Error(), "that is the whole tree") {
			t.Errorf("%q: error %v", text, err)
		}
	}
}

// FuzzExclude deploys one image with any patterns: what is left is a part of the image,
// and what is outside of the tree stays as it is.
func FuzzExclude(f *testing.F) {
	for _, text := range []string{"usr/share/doc", "../outside", "/../../outside/canary", "**", "!**\n*", "[", "lib/../..", "lib/x\n!lib", "a[b-", "\\", "*/../../*", "lib/.", "?", "\x00", "abs/../canary"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p := newPlace(t)
		image := layerOf(t, directory("usr"), file("usr/x", "1"), symlink("lib", "usr"), symlink("abs", p.outside), symlink("up", "../outside"), file("canary", "2"), hardlink("h", "usr/x"))
		if _, err := p.deploy(t, Options{Exclude: strings.Split(text, "\n")}, image); err != nil {
			return
		}
		all := " abs->" + p.outside + " canary=2 h=1 h==1 lib->usr up->../outside usr/ usr/x==h usr/x=1 "
		for _, line := range strings.Fields(p.show(t)) {
			if !strings.Contains(all, " "+line+" ") {
				t.Errorf("%q leaves %s", text, line)
			}
		}
	})
}
