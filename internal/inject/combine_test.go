package inject

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/pin"
	"osbuild-containers/internal/request"
)

// dice makes choices out of bytes.
type dice struct{ data []byte }

func (d *dice) roll(sides int) int {
	if len(d.data) == 0 {
		return 0
	}
	n := int(d.data[0]) % sides
	d.data = d.data[1:]
	return n
}

func fake(kind byte, n int) digest.Digest {
	return digest.Digest("sha256:" + strings.Repeat(fmt.Sprintf("%02x", int(kind-'a'+1)*32+n), 32))
}

// comboNames are of three repositories that share five images. The last one has images of its own,
// which are called something else in the tree.
var comboNames = []string{
	"my.test/a/app:1", "my.test/a/app:2", "my.test/b/app:1", "docker.io/library/c:latest", "my.test/d/own:1",
}

func comboRepo(n int) string { return comboNames[n][:strings.LastIndexByte(comboNames[n], ':')] }

// image is one of those that a name can mean. Each has two manifests, n and n+5, as one that was
// compressed again has. List n names manifest n and the one after it.
func (d *dice) image(name int) (n int) {
	n = d.roll(10)
	if n > 4 && d.roll(2) == 0 {
		n -= 5
	}
	if name == len(comboNames)-1 {
		n += 10
	}
	return n
}

func comboID(n int) string { return fake('a', n/10*5+n%5).String() }

func (d *dice) pins() (pins []pin.Image) {
	for name := range comboNames {
		if d.roll(4) == 3 {
			continue
		}
		n := d.image(name)
		p := pin.Image{
			Reference: comboNames[name], Platform: "linux/amd64",
			ID: digest.Digest(comboID(n)), Manifest: fake('b', n),
		}
		if d.roll(2) == 1 {
			p.List = fake('c', n)
		}
		pins = append(pins, p)
		if p.List != "" && d.roll(6) == 5 {
			next := n/10*10 + (n+1)%10
			p.Platform, p.ID, p.Manifest = "linux/arm64", digest.Digest(comboID(next)), fake('b', next)
			pins = append(pins, p)
		}
	}
	return pins
}

type obj = map[string]any

// manifest is one that osbuild would accept if nothing had to be filled in: all references have an
// item.
func (d *dice) manifest(t *testing.T) []byte {
	images, lists := obj{}, obj{}
	var stages []any
	for range 1 + d.roll(3) {
		refs, keys, digests := obj{}, []any{}, []string{}
		for range 1 + d.roll(3) {
			n := d.roll(len(comboNames))
			name := comboNames[n]
			if n == len(comboNames)-1 {
				name = "localhost/custom"
			}
			if d.roll(3) == 2 {
				refs[comboNames[n]] = obj{"name": name}
				keys = append(keys, obj{"id": comboNames[n], "options": obj{"name": name}})
				continue
			}
			i := d.image(n)
			id := comboID(i)
			if images[id] == nil {
				images[id] = obj{"image": obj{"name": comboRepo(n), "digest": fake('b', i)}}
			} else {
				i = n/4*10 + i%5 + 5*d.roll(2)
				for fake('b', i) != images[id].(obj)["image"].(obj)["digest"] {
					i = i/10*10 + (i+5)%10
				}
			}
			if d.roll(3) == 2 {
				digests = append(digests, fake('c', i).String())
				lists[digests[len(digests)-1]] = obj{"image": obj{"name": comboRepo(n)}}
			}
			if refs[id] == nil {
				keys = append(keys, obj{"id": id, "options": obj{"name": name}})
			}
			refs[id] = obj{"name": name}
		}
		in := obj{"images": obj{"type": imagesInput, "origin": fromSource, "references": refs}}
		if d.roll(4) == 3 {
			in["images"].(obj)["references"] = keys
		}
		if len(digests) > 0 {
			in[listsName] = obj{"type": filesInput, "origin": fromSource, "references": digests}
		}
		stages = append(stages, obj{
			"type": skopeoStage, "inputs": in,
			"options": obj{"destination": obj{"type": "containers-storage"}},
		})
	}
	sources := obj{"org.osbuild.curl": obj{"items": obj{}}}
	if len(images) > 0 {
		sources[skopeoSource] = obj{"items": images}
	}
	if len(lists) > 0 {
		sources[indexSource] = obj{"items": lists}
	}
	raw, err := json.Marshal(obj{"version": "2", "pipelines": []any{obj{"name": "os", "stages": stages}}, "sources": sources})
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	switch d.roll(3) {
	case 1:
		err = json.Indent(&b, raw, "", "\t")
	case 2:
		err = json.Indent(&b, raw, "", "  ")
	default:
		b.Write(raw)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// FuzzCombinations makes manifests and pins of a few names, ids and lists, so that they meet in all
// ways, and looks at what counts in the end: each name has the image that is pinned for it, each
// reference is fetched, each new list names the manifest that is fetched for one of the images
// next to it.
func FuzzCombinations(f *testing.F) {
	f.Setenv("CONTAINERS_REGISTRIES_CONF", os.DevNull)
	seeds := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		data := make([]byte, 80)
		for n := range data {
			data[n] = byte(seeds.UintN(256))
		}
		f.Add(data)
	}
	parsed := map[string]pin.Reference{}
	f.Fuzz(func(t *testing.T, data []byte) {
		d := &dice{data}
		pins := d.pins()
		manifest := d.manifest(t)
		o := Options{Pins: pins, Parse: func(text string) (pin.Reference, error) {
			if _, known := parsed[text]; !known {
				ref, err := pin.ParseReference(request.Access{}, text)
				if err != nil {
					return ref, err
				}
				parsed[text] = ref
			}
			return parsed[text], nil
		}}
		result, err := Apply(manifest, o)
		if err != nil {
			return
		}
		if before, after := mask(t, manifest), mask(t, result.Data); before != after {
			t.Errorf("outside of images, this became\n%s\nof\n%s", after, before)
		}
		checkMeaning(t, manifest, result.Data, pins)
		again, err := Apply(result.Data, o)
		switch {
		case err != nil:
			t.Errorf("the result is refused: %v", err)
		case again.Changed:
			t.Errorf("a second run makes\n%s", shorten(string(again.Data)))
		}
		if t.Failed() {
			var lines strings.Builder
			for _, p := range pins {
				fmt.Fprintln(&lines, p.Reference, p.Platform, p.ID, p.Manifest, p.List)
			}
			t.Logf("%s\nof\n%s\nbecame\n%s", shorten(lines.String()), shorten(string(manifest)), shorten(string(result.Data)))
		}
	})
}

// simple is a manifest as encoding/json sees it.
type simple struct {
	Pipelines []struct {
		Stages []struct {
			Inputs map[string]struct{ References json.RawMessage }
		}
	}
	Sources map[string]struct {
		Items map[string]struct {
			Image struct{ Name, Digest string }
		}
	}
}

func readSimple(t *testing.T, raw []byte) (m simple) {
	t.Helper()
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// simpleRefs reads references: id and name of each.
func simpleRefs(t *testing.T, raw json.RawMessage) (refs [][2]string) {
	t.Helper()
	var byKey map[string]struct{ Name string }
	if json.Unmarshal(raw, &byKey) == nil {
		for key, v := range byKey {
			refs = append(refs, [2]string{key, v.Name})
		}
		return refs
	}
	var list []struct {
		ID      string
		Options struct{ Name string }
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		t.Fatal(err)
	}
	for _, v := range list {
		refs = append(refs, [2]string{v.ID, v.Options.Name})
	}
	return refs
}

func checkMeaning(t *testing.T, before, after []byte, pins []pin.Image) {
	t.Helper()
	byName, known := map[string][]pin.Image{}, map[string]bool{}
	for _, p := range pins {
		byName[p.Reference] = append(byName[p.Reference], p)
	}
	names := func(m simple) map[string]bool {
		found := map[string]bool{}
		for _, s := range m.Pipelines[0].Stages {
			for _, ref := range simpleRefs(t, s.Inputs["images"].References) {
				found[ref[1]] = true
			}
			var lists []string
			json.Unmarshal(s.Inputs[listsName].References, &lists)
			for _, l := range lists {
				known[l] = true
			}
		}
		return found
	}
	old := names(readSimple(t, before))
	was := known
	known = map[string]bool{}
	m := readSimple(t, after)
	for name := range old {
		if !names(m)[name] {
			t.Errorf("the name %s is lost", name)
		}
	}
	for _, s := range m.Pipelines[0].Stages {
		ids := map[string]bool{}
		for _, ref := range simpleRefs(t, s.Inputs["images"].References) {
			if ids[ref[0]] {
				t.Errorf("%s is twice in a stage", ref[0])
			}
			ids[ref[0]] = true
			if _, ok := m.Sources[skopeoSource].Items[ref[0]]; !ok {
				t.Errorf("%s is not fetched", ref[0])
			}
			if p := byName[ref[1]]; len(p) == 1 && p[0].ID.String() != ref[0] {
				t.Errorf("%s is %s, want %s", ref[1], ref[0], p[0].ID)
			}
		}
		var lists []string
		json.Unmarshal(s.Inputs[listsName].References, &lists)
		for _, l := range lists {
			if _, ok := m.Sources[indexSource].Items[l]; !ok {
				t.Errorf("%s is not fetched", l)
			}
			fits := was[l]
			for _, p := range pins {
				if p.List.String() == l && ids[p.ID.String()] && m.Sources[skopeoSource].Items[p.ID.String()].Image.Digest == p.Manifest.String() {
					fits = true
				}
			}
			if !fits {
				t.Errorf("the list %s names no image of its stage", l)
			}
		}
	}
}
