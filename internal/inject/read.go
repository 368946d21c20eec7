package inject

import (
	"errors"
	"strings"

	"github.com/tailscale/hujson"

	"osbuild-containers/internal/request"
)

// Manifest holds the containers of an osbuild manifest.
type Manifest struct {
	Images []request.Item // of org.osbuild.skopeo
	Lists  []request.Item // of org.osbuild.skopeo-index
	Stored []request.Item // of org.osbuild.containers-storage; nothing is fetched for these

	// Unpinned are the references without a source item.
	Unpinned []Unpinned
}

// Read reads an osbuild manifest. For invalid items it returns a [*request.Error] with their path in the manifest.
// A manifest that is not of version 2 has no references.
func Read(raw []byte) (*Manifest, error) {
	d, err := parseAny(raw)
	if err != nil {
		return nil, err
	}
	value, err := get(d.root, d.at, "sources")
	if err != nil {
		return nil, err
	}
	if pipelines, _ := get(d.root, d.at, "pipelines"); value == nil && pipelines == nil {
		return nil, errors.New("not an osbuild manifest: it has neither sources nor pipelines")
	}
	var sources *hujson.Object
	if value != nil && value.Value.Kind() != 'n' {
		if sources, err = object(d.root, d.at, "sources"); err != nil {
			return nil, err
		}
	}
	m := &Manifest{}
	at := []string{"sources"}
	if d.at != "" {
		at = []string{strings.TrimSuffix(d.at, "."), "sources"}
	}
	for name, items := range map[string]*[]request.Item{skopeoSource: &m.Images, indexSource: &m.Lists, storageSource: &m.Stored} {
		v, err := getOf(sources, name)
		if err != nil {
			return nil, err
		}
		if v == nil {
			continue
		}
		if *items, err = request.DecodeItems(name, raw[v.StartOffset:v.EndOffset], append(at, name)...); err != nil {
			return nil, err
		}
	}
	if d.checkVersion() != nil {
		return m, nil //nolint:nilerr // another version, which has no references
	}
	model, err := readModel(d)
	if err != nil {
		return nil, err
	}
	m.Unpinned = model.unpinned()
	return m, nil
}

// unpinned returns the references without a source item: names of images to fill in, and ids and digests whose item
// is missing.
func (m *model) unpinned() (all []Unpinned) {
	for _, r := range m.references() {
		source := skopeoSource
		if r.storage {
			source = storageSource
		}
		if _, ok := m.images[source+r.key]; !ok {
			all = append(all, Unpinned{r.at, r.key, r.fresh, r.storage})
		}
	}
	for _, s := range m.stages {
		if s.lists == nil {
			continue
		}
		for n := range s.lists.len() {
			key := s.lists.key(n)
			if _, ok := m.images[indexSource+key]; !ok {
				all = append(all, Unpinned{At: s.at + ".inputs." + listsName, Key: key})
			}
		}
	}
	return all
}
