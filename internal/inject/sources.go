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

// A sourceItem is an item that a source needs.
type sourceItem struct {
	key   string
	from  string // key of the item that it replaces, "" if it is new
	pins  []*pin.Image
	alias *pin.Image // image whose name the item must have, because nothing else identifies it
	keep  bool       // the item does not change: a reference without a pin uses it too
}

// sourceItems are the items of one source, in the order of the manifest.
type sourceItems []*sourceItem

func (w *sourceItems) add(key, from string, p *pin.Image) *sourceItem {
	for _, old := range *w {
		if old.key == key {
			if !slices.Contains(old.pins, p) {
				old.pins = append(old.pins, p)
			}
			old.from = cmp.Or(old.from, from)
			return old
		}
	}
	*w = append(*w, &sourceItem{key: key, from: from, pins: []*pin.Image{p}})
	return (*w)[len(*w)-1]
}

// decision is the manifest by which an image must be fetched, because a list of the stage contains it.
type decision struct {
	by       *imageRef
	manifest string
}

// newItems are the items that the sources need, and the keys of the items that they replace.
type newItems struct {
	images, lists, stored sourceItems
	replaced              map[string]bool
}

// writeSources writes the items that the stages refer to now to the sources.
func (m *model) writeSources(o *Options) error {
	items := m.newItems()
	decisions, err := m.decideManifests()
	if err != nil {
		return err
	}
	if err := m.choosePins(items.images, decisions); err != nil {
		return err
	}
	w := &writer{model: m, insecure: m.insecure(), verify: !o.Insecure, used: m.referenced(), gone: items.replaced}
	for _, r := range m.unreferenced {
		w.used[r.result()] = true
	}
	for _, source := range []struct {
		name  string
		items sourceItems
	}{{skopeoSource, items.images}, {indexSource, items.lists}, {storageSource, items.stored}} {
		if err := w.write(source.name, source.items); err != nil {
			return err
		}
	}
	return nil
}

// newItems collects the items of all pinned references and of their lists.
func (m *model) newItems() *newItems {
	items := &newItems{replaced: map[string]bool{}}
	for _, s := range m.stages {
		for _, in := range s.images {
			for _, r := range in.refs {
				items.addImage(r)
			}
		}
		for _, l := range s.listItems {
			items.replaced[l.old] = true
			if l.key != "" && l.pin != nil {
				items.lists.add(l.key, l.old, l.pin)
			}
		}
	}
	for _, r := range m.unreferenced {
		items.addImage(r)
	}
	return items
}

func (items *newItems) addImage(r *imageRef) {
	if r.pin == nil {
		return
	}
	items.replaced[r.key] = true
	to, from := &items.images, r.key
	if r.storage {
		to = &items.stored
	}
	if r.fresh {
		from = ""
	}
	added := to.add(r.result(), from, r.pin)
	if r.alias && added.alias == nil {
		added.alias = r.pin
	}
}

// decideManifests returns the manifests that lists contain, by image id.
func (m *model) decideManifests() (map[string]decision, error) {
	decided := map[string]decision{}
	for _, s := range m.stages {
		for _, l := range s.listItems {
			for _, d := range l.decisions() {
				first, known := decided[d.by.result()]
				if known && first.manifest != d.manifest {
					return nil, s.twoManifests(first.by, d.by)
				}
				if !known {
					decided[d.by.result()] = d
				}
			}
		}
	}
	return decided, nil
}

// decisions returns the manifests of the list.
func (l *list) decisions() (all []decision) {
	if l.key == "" {
		return nil
	}
	for _, r := range l.stays {
		all = append(all, decision{r, r.item.digest})
	}
	if l.pin == nil {
		return all
	}
	for _, r := range l.owners {
		all = append(all, decision{r, r.pin.Manifest.String()})
	}
	return all
}

// choosePins selects one of the pins with the same image for each image.
func (m *model) choosePins(images sourceItems, decisions map[string]decision) error {
	for _, i := range images {
		open := m.open[i.key]
		if d, known := decisions[i.key]; known {
			if open != nil && open.item.digest != d.manifest {
				return hint.Add(fmt.Errorf("%s: %s, which is pinned, and %s, which is not, are the same image, %s, in two manifests",
					open.at, d.by.finalName(), open.label(), i.key), "pin both")
			}
			other := func(p *pin.Image) bool { return p.Manifest.String() != d.manifest }
			if rest := slices.DeleteFunc(slices.Clone(i.pins), other); len(rest) > 0 {
				i.pins = rest
			}
		}
		i.pins = []*pin.Image{m.choose(i)}
		i.keep = open != nil
	}
	return nil
}

func (s *stage) twoManifests(a, b *imageRef) error {
	return hint.Add(fmt.Errorf("%s: %s and %s are the same image, %s, in two manifests: "+
		"a cache keeps one manifest of an image, and their lists name different ones", s.at, a.finalName(), b.finalName(), a.result()),
		"copy one image to the place of the other and pin that, or give one a stage with its id and without %s", listsName)
}

// choose selects the pin whose name an item is fetched under, from several with the same image: one that nothing
// else identifies, or the current one, or one of the same repository.
func (m *model) choose(w *sourceItem) *pin.Image {
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

// insecure returns the repositories that are fetched without checking certificates.
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

// host returns the registry in a name.
func host(name string) string {
	named, err := reference.ParseNormalizedNamed(name)
	if err != nil {
		return name
	}
	return reference.Domain(named)
}

// transportOf returns the transport of a pin for an item, "" for the default.
func transportOf(p *pin.Image) string {
	if p.Transport == request.Docker {
		return ""
	}
	return p.Transport
}
