package inject

import (
	"fmt"

	"github.com/tailscale/hujson"
)

// item is the source item of an image or a list.
type item struct {
	name      string
	digest    string // of the manifest; "" for lists
	transport string
	location  string // graph root of a containers storage
}

func (m *model) readSources() error {
	at := m.doc.at + "sources"
	sources, err := object(m.doc.root, m.doc.at, "sources")
	if sources == nil || err != nil {
		return err
	}
	for _, name := range []string{skopeoSource, indexSource, storageSource} {
		source, err := object(sources, at+".", name)
		if err != nil {
			return err
		}
		if source == nil {
			continue
		}
		place := at + "." + name + "."
		items, err := object(source, place, "items")
		if err != nil {
			return err
		}
		if items == nil {
			return fmt.Errorf("%sitems is missing", place)
		}
		m.sources[name] = items
		for n := range items.Members {
			if err := m.readItem(name, place+"items.", &items.Members[n]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (m *model) readItem(source, at string, member *hujson.ObjectMember) error {
	key := text(&member.Name)
	at += key
	o, ok := member.Value.Value.(*hujson.Object)
	if !ok {
		return fmt.Errorf("%s must be an object", at)
	}
	if _, twice := m.images[source+key]; twice {
		return fmt.Errorf("%s is given twice: remove one", at)
	}
	image, err := object(o, at+".", "image")
	if err != nil {
		return err
	}
	m.images[source+key] = image
	return eachOnce(image, at+".image.")
}

// imageOf returns the object "image" of a source's item, nil if there is none.
func (m *model) imageOf(source, key string) *hujson.Object { return m.images[source+key] }

func (m *model) item(r *imageRef) item {
	if r.storage {
		return item{}
	}
	image := m.imageOf(skopeoSource, r.key)
	return item{
		name: textOf(image, "name"), digest: textOf(image, "digest"),
		transport: textOf(image, "containers-transport"), location: textOf(image, "storage-location"),
	}
}

// index returns the repository that a list is fetched from, "" if there is none.
func (m *model) index(key string) string {
	if name := textOf(m.imageOf(indexSource, key), "name"); name != "" {
		return repository(name)
	}
	return ""
}

// findUnreferenced finds items of images that no input refers to. They are fetched nevertheless.
func (m *model) findUnreferenced() {
	used := m.referenced()
	for _, name := range []string{skopeoSource, storageSource} {
		if m.sources[name] == nil {
			continue
		}
		for n := range m.sources[name].Members {
			r := &imageRef{
				at:  fmt.Sprintf("%ssources.%s", m.doc.at, name),
				key: text(&m.sources[name].Members[n].Name), storage: name == storageSource,
			}
			if !used[r.key] {
				r.item = m.item(r)
				m.unreferenced = append(m.unreferenced, r)
			}
		}
	}
}

// referenced returns all ids that inputs of any kind refer to.
func (m *model) referenced() map[string]bool {
	used := map[string]bool{}
	pipelines, _ := array(m.doc.root, "", "pipelines")
	if pipelines == nil {
		return used
	}
	for v := range (&hujson.Value{Value: pipelines}).All() {
		o, ok := v.Value.(*hujson.Object)
		if !ok || textOf(o, "origin") != fromSource {
			continue
		}
		references, _ := get(o, "", "references")
		if references == nil {
			continue
		}
		for key := range references.All() {
			used[text(key)] = true
		}
	}
	return used
}
