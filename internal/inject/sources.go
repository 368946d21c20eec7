package inject

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/distribution/reference"
	"github.com/tailscale/hujson"

	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/pin"
	"osbuild-containers/internal/request"
)

// want is an item that a source has to have.
type want struct {
	key   string
	from  string // key of the item whose place it takes, "" if it is new
	pins  []*pin.Image
	alias *pin.Image // whose name the item has to have, since nothing else names it
	keep  bool       // the item stays as it is: something that is not pinned has it too
}

// wants are the items of a source, in the order of the manifest.
type wants []*want

func (w *wants) add(key, from string, p *pin.Image) *want {
	for _, old := range *w {
		if old.key == key {
			if !slices.Contains(old.pins, p) {
				old.pins = append(old.pins, p)
			}
			old.from = cmp.Or(old.from, from)
			return old
		}
	}
	*w = append(*w, &want{key: key, from: from, pins: []*pin.Image{p}})
	return (*w)[len(*w)-1]
}

// decision is which manifest of an image is fetched, since a list beside it names that one.
type decision struct {
	by       *mention
	manifest string
}

// writeSources gives the sources the items that the stages refer to now.
func (m *model) writeSources(o *Options) error {
	var images, lists, stored wants
	gone := map[string]bool{} // keys that were replaced
	note := func(r *mention) {
		if r.pin == nil {
			return
		}
		gone[r.key] = true
		w, from := &images, r.key
		if r.storage {
			w = &stored
		}
		if r.fresh {
			from = ""
		}
		added := w.add(r.result(), from, r.pin)
		if r.alias && added.alias == nil {
			added.alias = r.pin
		}
	}
	decided := map[string]decision{}
	for _, s := range m.stages {
		for _, in := range s.images {
			for _, r := range in.refs {
				note(r)
			}
		}
		for _, l := range s.listItems {
			gone[l.old] = true
			if l.key == "" {
				continue
			}
			var decisions []decision
			for _, r := range l.stays {
				decisions = append(decisions, decision{r, r.item.digest})
			}
			if l.pin != nil {
				lists.add(l.key, l.old, l.pin)
				for _, r := range l.owners {
					decisions = append(decisions, decision{r, r.pin.Manifest.String()})
				}
			}
			for _, d := range decisions {
				first, known := decided[d.by.result()]
				if known && first.manifest != d.manifest {
					return s.twoManifests(first.by, d.by)
				}
				if !known {
					decided[d.by.result()] = d
				}
			}
		}
	}
	w := &writer{model: m, insecure: m.insecure(), verify: !o.Insecure, used: m.referenced(), gone: gone}
	for _, r := range m.loose {
		note(r)
		w.used[r.result()] = true
	}
	for _, i := range images {
		if d, known := decided[i.key]; known {
			if o := m.open[i.key]; o != nil && o.item.digest != d.manifest {
				return hint.Add(fmt.Errorf("%s: %s, which is pinned, and %s, which is not, are the same image, %s, in two manifests",
					o.at, d.by.finalName(), o.label(), i.key), "pin both")
			}
			other := func(p *pin.Image) bool { return p.Manifest.String() != d.manifest }
			if rest := slices.DeleteFunc(slices.Clone(i.pins), other); len(rest) > 0 {
				i.pins = rest
			}
		}
		i.pins = []*pin.Image{m.choose(i)}
		i.keep = m.open[i.key] != nil
	}
	for _, source := range []struct {
		name  string
		wants wants
	}{{skopeoSource, images}, {indexSource, lists}, {storageSource, stored}} {
		if err := w.write(source.name, source.wants); err != nil {
			return err
		}
	}
	return nil
}

func (s *stage) twoManifests(a, b *mention) error {
	return hint.Add(fmt.Errorf("%s: %s and %s are the same image, %s, in two manifests: "+
		"a cache keeps one manifest of an image, and their lists name different ones", s.at, a.finalName(), b.finalName(), a.result()),
		"copy one image to the place of the other and pin that, or give one a stage with its id and without %s", listsName)
}

// choose is the pin whose name an item is fetched under, of several that are the same image: the one
// that nothing else names, or that is there, or of the same name.
func (m *model) choose(w *want) *pin.Image {
	if slices.Contains(w.pins, w.alias) {
		return w.alias
	}
	best, score := w.pins[0], 0
	for _, key := range []string{w.key, w.from} {
		image := m.imageOf(skopeoSource, key)
		if image == nil {
			continue
		}
		for _, p := range w.pins {
			n := 0
			if repository(p.Reference) == repository(textOf(image, "name")) {
				n = 1
			}
			if p.Manifest.String() == textOf(image, "digest") {
				n += 2
			}
			if n > score {
				best, score = p, n
			}
		}
	}
	return best
}

// insecure are the repositories that are fetched without checking certificates.
func (m *model) insecure() map[string]bool {
	found := map[string]bool{}
	for _, name := range []string{skopeoSource, indexSource} {
		if m.sources[name] == nil {
			continue
		}
		for n := range m.sources[name].Members {
			image := m.imageOf(name, text(&m.sources[name].Members[n].Name))
			if verify, _ := getOf(image, "tls-verify"); verify != nil && verify.Value.Kind() == 'f' {
				found[repository(textOf(image, "name"))] = true
			}
		}
	}
	return found
}

func getOf(o *hujson.Object, name string) (*hujson.Value, error) {
	if o == nil {
		return nil, nil
	}
	return get(o, "", name)
}

// host is the registry of a name.
func host(name string) string {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return name
	}
	return reference.Domain(named)
}

// transportOf is the transport of a pin as an item has it, "" for the usual one.
func transportOf(p *pin.Image) string {
	if p.Transport == request.Docker {
		return ""
	}
	return p.Transport
}
