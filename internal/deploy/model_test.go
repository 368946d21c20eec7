package deploy

import (
	"archive/tar"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// model is a tree as a map of paths: "/" for a directory, "->target" for a symbolic link,
// "=content" for a file. It applies layers from the lowest up, each unpacked into a
// tree of its own first: slowly, and so that one sees that it is right.
type model map[string]string

// own is one layer as a tree of its own.
type own struct {
	tree    model
	removed map[string]bool
	opaque  map[string]bool
}

// unpack returns false for what no layer should have.
func unpack(items []item, lower model) (*own, bool) {
	o := &own{model{}, map[string]bool{}, map[string]bool{}}
	readlink := func(name string) (string, bool) { return strings.CutPrefix(o.tree[name], "->") }
	in := func(name string) (string, bool) {
		parent, base := split(name)
		at, err := resolve(parent, readlink)
		return join(at, base), err == nil
	}
	for _, i := range items {
		what, name, err := parse(clean(i.Name))
		if err != nil {
			return nil, false
		}
		if what == aufsMetadata {
			continue
		}
		name, ok := in(name)
		if !ok {
			return nil, false
		}
		switch what {
		case whiteout:
			o.removed[name] = true
			continue
		case opaque:
			o.opaque[name] = true
			if !o.parents(name + "/x") {
				return nil, false
			}
			continue
		}
		if name == "." {
			if i.Typeflag != tar.TypeDir {
				return nil, false
			}
			continue
		}
		value := "=" + i.Body
		switch i.Typeflag {
		case tar.TypeDir:
			value = "/"
		case tar.TypeSymlink:
			value = "->" + i.Linkname
		case tar.TypeLink:
			target, ok := in(clean(i.Linkname))
			if !ok || below(target, name) || below(name, target) {
				return nil, false
			}
			if o.tree[name] != "" {
				before := maps.Clone(o.tree)
				remove(o.tree, name) // as unpacking does first
				without, _ := in(clean(i.Linkname))
				if o.tree = before; without != target {
					return nil, false
				}
			}
			if value, ok = o.tree[target]; !ok {
				for at, _ := split(target); at != "."; at, _ = split(at) {
					if v, has := o.tree[at]; has && v != "/" {
						return nil, false
					}
				}
				value, ok = lower[target]
				ok = ok && !strings.HasPrefix(value, "->") // which is not followed afterwards
			}
			if !ok || value == "/" {
				return nil, false
			}
		}
		if !o.parents(name) {
			return nil, false
		}
		if value != "/" || o.tree[name] != "/" {
			remove(o.tree, name)
		}
		o.tree[name] = value
	}
	return o, true
}

// parents makes the directories that a name is in.
func (o *own) parents(name string) bool {
	for at, _ := split(name); at != "."; at, _ = split(at) {
		if v, ok := o.tree[at]; ok && v != "/" {
			return false
		}
		o.tree[at] = "/"
	}
	return true
}

// over lays the layer over the others.
func (o *own) over(m model) {
	for name := range o.removed {
		remove(m, name)
	}
	for name := range o.opaque {
		for other := range m {
			if name == "." || strings.HasPrefix(other, name+"/") {
				delete(m, other)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(o.tree)) {
		if v := o.tree[name]; v != "/" || m[name] != "/" {
			remove(m, name)
			m[name] = v
		}
	}
}

func remove(m model, name string) {
	for other := range m {
		if other == name || strings.HasPrefix(other, name+"/") {
			delete(m, other)
		}
	}
}

func (m model) String() string {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		lines = append(lines, name+m[name])
	}
	return strings.Join(lines, " ")
}

// script makes layers out of any bytes: three for an entry.
func script(data []byte) [][]item {
	names := []string{"a", "b", "a/b", "a/c", "b/a", "c", "a/b/c", "c/a", "b/c", "/a", "../b", "./c/", "a/../c", ".", "../../outside", "a/b/../../b/c"}
	targets := []string{"a", "b", "../outside", "/", "..", "c/a", "/a/b", "loop", "a/c", "../a"}
	layers := [][]item{nil}
	for ; len(data) >= 3 && len(layers) <= 4; data = data[3:] {
		path := names[int(data[1])%len(names)]
		target := targets[int(data[2])%len(targets)]
		parent, base := split(clean(path))
		name := strings.TrimSuffix(path, "/")
		var i item
		switch data[0] % 9 {
		case 0, 1:
			i = file(name, string('0'+rune(data[2]%10)))
		case 2:
			i = directory(name)
		case 3:
			i = symlink(name, target)
		case 4:
			i = hardlink(name, names[int(data[2])%len(names)])
		case 5:
			i = file(join(parent, whiteoutPrefix+base), "")
		case 6:
			i = file(join(clean(name), opaqueMarker), "")
		case 7:
			layers = append(layers, nil)
			continue
		case 8:
			i = file(name+"/"+string('a'+rune(data[2]%3)), "x")
		}
		last := &layers[len(layers)-1]
		*last = append(*last, i)
	}
	return layers
}

// FuzzLayers compares with the model, where the model has an opinion; what is outside of
// the tree stays as it is in any case.
func FuzzLayers(f *testing.F) {
	f.Add([]byte("000200"))
	f.Add([]byte{0, 2, 1, 2, 1, 0, 7, 0, 0, 5, 2, 0, 0, 3, 4})                      // a whiteout
	f.Add([]byte{2, 0, 0, 0, 2, 5, 7, 0, 0, 6, 0, 0, 8, 0, 1})                      // an opaque directory
	f.Add([]byte{0, 0, 1, 4, 1, 0, 7, 0, 0, 0, 0, 2, 7, 0, 0, 4, 5, 1})             // hard links
	f.Add([]byte{3, 0, 2, 0, 2, 1, 7, 0, 0, 3, 1, 4, 8, 1, 1, 5, 2, 0})             // symbolic links outwards
	f.Add([]byte{8, 0, 0, 0, 0, 1, 2, 0, 0, 7, 0, 0, 0, 0, 3, 7, 0, 0, 8, 0, 2})    // file, directory and back
	f.Add([]byte{0, 14, 0, 3, 14, 2, 8, 14, 1, 4, 1, 14, 5, 10, 0, 6, 13, 0, 0, 6}) // names outwards
	f.Fuzz(likeTheModel)
}

func TestRandomLayersLikeTheModel(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for range rounds {
		data := make([]byte, 3*(2+rnd.IntN(20)))
		for i := range data {
			data[i] = byte(rnd.Uint32())
		}
		likeTheModel(t, data)
		if t.Failed() {
			return
		}
	}
}

const rounds = 150

func likeTheModel(t *testing.T, data []byte) {
	t.Helper()
	p := newPlace(t)
	want, sure := model{}, true
	var layers []Layer
	for _, items := range script(data) {
		layers = append(layers, layerOf(t, items...))
		o, ok := unpack(items, want)
		if sure = sure && ok; sure {
			o.over(want)
		}
	}
	_, err := p.deployIn(t, anyOrder(1+len(data)%4), Options{}, layers...)
	if !sure {
		return
	}
	if err != nil {
		t.Fatalf("%v\nthe model has %s\nof %s", err, want, tell(script(data)))
	}
	got := model{}
	for _, line := range strings.Fields(p.show(t)) {
		got.add(line)
	}
	if got.String() != want.String() {
		t.Errorf("got  %s\nwant %s\nof   %s", got, want, tell(script(data)))
	}
}

// tell is what layers are made of, for people.
func tell(layers [][]item) string {
	var b strings.Builder
	for _, items := range layers {
		b.WriteString("[")
		for _, i := range items {
			fmt.Fprintf(&b, " %c %s %s%s", i.Typeflag, i.Name, i.Linkname, i.Body)
		}
		b.WriteString(" ] ")
	}
	return b.String()
}

// add takes a line as place.show has it.
func (m model) add(line string) {
	if name, first, ok := strings.Cut(line, "=="); ok {
		m[name] = m[first]
	} else if name, target, ok := strings.Cut(line, "->"); ok {
		m[name] = "->" + target
	} else if name, body, ok := strings.Cut(line, "="); ok {
		m[name] = "=" + body
	} else {
		m[strings.TrimSuffix(line, "/")] = "/"
	}
}

// below reports whether a name is another one or is in it.
func below(name, top string) bool {
	return strings.HasPrefix(name, top) && (len(name) == len(top) || name[len(top)] == '/')
}
