package inject

import (
	"github.com/tailscale/hujson"

	"osbuild-containers/internal/pin"
	"osbuild-containers/internal/request"
)

// writer changes the items of sources.
type writer struct {
	model    *model
	insecure map[string]bool // repositories
	verify   bool            // new items are fetched with checking certificates
	used     map[string]bool // keys that inputs refer to
	gone     map[string]bool // keys that were replaced
}

// write adds the items to a source that it needs, each in the place of the one it replaces, and removes replaced
// ones.
func (w *writer) write(source string, wanted sourceItems) error {
	items := w.model.sources[source]
	if items == nil && len(wanted) == 0 {
		return nil
	}
	if items == nil {
		var err error
		if items, err = w.addSource(source); err != nil {
			return err
		}
	}
	at := make(map[string]bool, len(items.Members)) // existing keys
	for n := range items.Members {
		at[text(&items.Members[n].Name)] = true
	}
	for _, i := range wanted {
		switch {
		case at[i.key] && source == indexSource:
			// a digest identifies the content, whatever its name
		case at[i.key]:
			w.refresh(source, items, i)
		case at[i.from] && !w.used[i.from]:
			n, _ := find(items, "", i.from)
			setText(&items.Members[n].Name, i.key)
			delete(at, i.from)
			w.refresh(source, items, i)
		default:
			n := len(items.Members) - 1
			if at[i.from] {
				n, _ = find(items, "", i.from)
			}
			w.model.doc.style.addField(items, n, field{i.key, w.content(source, i.pins[0])})
		}
		at[i.key] = true
	}
	before := len(items.Members)
	for n := before - 1; n >= 0; n-- {
		if key := text(&items.Members[n].Name); w.gone[key] && !w.used[key] {
			removeField(items, n)
		}
	}
	if len(items.Members) == 0 && before > 0 {
		sources, _ := object(w.model.doc.root, "", "sources")
		n, _ := find(sources, "", source)
		removeField(sources, n)
	}
	return nil
}

// addSource adds a source without items.
func (w *writer) addSource(name string) (*hujson.Object, error) {
	d := w.model.doc
	sources, err := object(d.root, d.at, "sources")
	if err != nil {
		return nil, err
	}
	if sources == nil {
		d.style.addField(d.root, len(d.root.Members)-1, field{"sources", []field(nil)})
		sources, _ = object(d.root, "", "sources")
	}
	d.style.addField(sources, len(sources.Members)-1, field{name, []field(nil)})
	source, _ := object(sources, "", name)
	d.style.spread(source, sources)
	d.style.addField(source, -1, field{"items", []field(nil)})
	items, _ := object(source, "", "items")
	return items, nil
}

// content returns the fields of a new item.
func (w *writer) content(source string, p *pin.Image) []field {
	if source == storageSource {
		return nil
	}
	name := repository(p.Reference)
	image := []field{{"name", name}}
	if source == skopeoSource {
		image = append(image, field{"digest", p.Manifest.String()})
	}
	if transport := transportOf(p); transport != "" {
		image = append(image, field{"containers-transport", transport})
		if p.StorageLocation != "" {
			image = append(image, field{"storage-location", p.StorageLocation})
		}
	} else if !w.verify || w.insecure[name] {
		image = append(image, field{"tls-verify", false})
	}
	return []field{{"image", image}}
}

// refresh updates an existing item to its pin. Other fields of the item stay, unless they were for another
// registry.
func (w *writer) refresh(source string, items *hujson.Object, i *sourceItem) {
	p := i.pins[0]
	n, _ := find(items, "", i.key)
	o, _ := items.Members[n].Value.Value.(*hujson.Object)
	image, _ := object(o, "", "image")
	if source == storageSource || i.keep {
		return
	}
	if image == nil {
		items.Members[n].Value.Value = w.model.doc.style.value(w.content(source, p), w.model.doc.style.indents[items].inner, w.model.doc.style.indents[items].lines)
		return
	}
	digest, name := textOf(image, "digest"), textOf(image, "name")
	if i.alias == p && repository(name) != repository(p.Reference) {
		digest = "" // the item's name must identify this pin
	}
	if source == skopeoSource && digest == p.Manifest.String() {
		return // the same content, from any registry
	}
	if repository(name) != repository(p.Reference) {
		w.set(image, "name", repository(p.Reference))
		if host(name) != host(p.Reference) {
			w.unset(image, "tls-verify")
		}
	}
	if source == skopeoSource {
		w.set(image, "digest", p.Manifest.String())
	}
	if was := textOf(image, "containers-transport"); was == request.ContainersStorage && transportOf(p) == "" {
		w.unset(image, "containers-transport")
		w.unset(image, "storage-location")
	} else if was == "" && transportOf(p) != "" {
		w.set(image, "containers-transport", transportOf(p))
	}
}

func (w *writer) set(o *hujson.Object, name, value string) {
	if v, _ := get(o, "", name); v != nil {
		setText(v, value)
		return
	}
	w.model.doc.style.addField(o, len(o.Members)-1, field{name, value})
}

func (w *writer) unset(o *hujson.Object, name string) {
	if n, err := find(o, "", name); n >= 0 && err == nil {
		removeField(o, n)
	}
}
