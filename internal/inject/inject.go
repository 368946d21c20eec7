// Package inject puts pins into osbuild manifests: the sources that fetch images and manifest lists
// by digest, and the inputs of stages that refer to them.
//
// A manifest says what it wants in one of two ways. A reference whose key is an image id is
// refreshed: its name, or the name that its source item is fetched under, says which pin it means,
// and the present item says for which platform. A reference whose key is the name of an image
// is filled in: the key becomes the id, and where a stage can take the image's manifest list, that
// is given to it too.
//
// It promises that everything else stays byte for byte as it was: order, white space, indentation,
// the end of the file. What is added is formatted like its neighbours. What a pin leaves open is an
// error that names the candidates, never a guess; what is not pinned stays. A second run changes
// nothing. It does not promise that the manifest is one that osbuild accepts in all other respects,
// and it asks no registry: the pins are taken as they are.
package inject

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/tailscale/hujson"

	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/pin"
)

// Options are what goes into a manifest, and how names are understood.
type Options struct {
	Pins []pin.Image
	// Parse is how a name in the manifest is understood: as pin understands it.
	Parse func(text string) (pin.Reference, error)
	// Insecure marks items that are new: fetched without checking certificates.
	Insecure bool
}

// Result is a manifest with its pins.
type Result struct {
	Data    []byte
	Changed bool // Data is not what was given
	Pinned  []Pinned
	Left    []Left

	doc  *document
	path string // of the file, if it is from one
}

// Pinned is a reference, or its manifest list, that a pin decides.
type Pinned struct {
	At        string `json:"at"`        // where in the manifest
	Reference string `json:"reference"` // of the pin
	Platform  string `json:"platform"`
	Old       string `json:"old"` // what was there: an id, or the name of an image
	New       string `json:"new"` // the image id
}

// Left is a reference that no pin decides. It is as it was.
type Left struct {
	At   string `json:"at"`
	ID   string `json:"id"`
	Name string `json:"name"`
}

// Unpinned is a reference that no source has an item for.
type Unpinned struct {
	At     string // where in the manifest
	Key    string // an id or a digest, or the name of an image that is to be filled in
	Name   bool   // whether Key is a name
	Stored bool   // whether the image is one of the host's containers storage
}

// Apply puts pins into a manifest.
func Apply(manifest []byte, o Options) (*Result, error) {
	result, err := once(manifest, &o)
	if err != nil {
		return nil, err
	}
	// Two names may share an item, or a list, from now on, which then says more about both: it goes
	// on until nothing changes, which nearly always is at once.
	for n, last := 0, result; last.Changed; n++ {
		if n == 10 {
			return nil, errors.New("each run over the result changes something again; this is a fault of the program: please report it")
		}
		if last, err = once(last.Data, &o); err != nil {
			return nil, err
		}
		result.Data, result.doc = last.Data, last.doc
	}
	return result, nil
}

func once(manifest []byte, o *Options) (*Result, error) {
	d, err := parse(manifest)
	if err != nil {
		return nil, err
	}
	m, err := readModel(d)
	if err != nil {
		return nil, err
	}
	result := &Result{doc: d}
	if err := m.resolve(o, result); err != nil {
		return nil, err
	}
	return result, m.write(o, result, manifest)
}

// settle finds the items that need not change.
func (m *model) settle() {
	m.open, m.settled = map[string]*imageRef{}, map[string]bool{}
	for _, r := range m.references() {
		switch image := m.imageOf(skopeoSource, r.result()); {
		case r.pin == nil && r.item.name != "":
			m.open[r.key] = r
			m.settled[r.key] = true
		case r.pin != nil && textOf(image, "digest") == r.pin.Manifest.String():
			m.settled[r.result()] = true
		}
	}
}

// write makes what was resolved the content of the document.
func (m *model) write(o *Options, result *Result, before []byte) error {
	m.settle()
	for _, s := range m.stages {
		if err := s.planLists(m); err != nil {
			return err
		}
	}
	clones := make(map[*stage][]*stage)
	for _, s := range m.stages {
		made, err := s.rewrite(m.doc)
		if err != nil {
			return err
		}
		clones[s] = made
	}
	for n := len(m.stages) - 1; n >= 0; n-- { // from the end: places before it stay
		m.stages[n].insert(m.doc, clones[m.stages[n]])
	}
	if err := m.writeSources(o); err != nil {
		return err
	}
	result.Data = m.doc.pack()
	result.Changed = !bytes.Equal(result.Data, before)
	return nil
}

// document is a manifest as it is written.
type document struct {
	whole hujson.Value
	root  *hujson.Object // of the manifest, which may be a field of the document
	at    string         // where that is: "" or "manifest."
	style style
}

func (d *document) pack() []byte { return d.whole.Pack() }

// parse reads a manifest of version 2.
func parse(raw []byte) (*document, error) {
	d, err := parseAny(raw)
	if err != nil {
		return nil, err
	}
	if err := d.checkVersion(); err != nil {
		return nil, err
	}
	d.style = styleOf(&d.whole, d.root)
	return d, nil
}

// parseAny reads a manifest of any version.
func parseAny(raw []byte) (*document, error) {
	if err := json.Unmarshal(raw, new(json.RawMessage)); err != nil {
		return nil, notJSON(raw, err)
	}
	whole, err := hujson.Parse(raw) // the decoder above has bounded how deep it can go
	if err != nil {
		return nil, fmt.Errorf("not an osbuild manifest: not JSON: %w", err)
	}
	root, ok := whole.Value.(*hujson.Object)
	if !ok {
		return nil, errors.New("not an osbuild manifest: no JSON object")
	}
	d := &document{whole: whole, root: root}
	if version, err := get(root, "", "version"); version != nil || err != nil {
		return d, err
	}
	// gen-manifests of osbuild/images and composer's tests have it in a field.
	inner, err := object(root, "", "manifest")
	if inner != nil {
		d.root, d.at = inner, "manifest."
	}
	return d, err
}

func notJSON(raw []byte, err error) error {
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		before := raw[:max(0, min(int(syntax.Offset), len(raw))-1)]
		column := len(before) - bytes.LastIndexByte(before, '\n')
		return fmt.Errorf("not an osbuild manifest: not JSON: line %d, column %d: %w", 1+bytes.Count(before, []byte("\n")), column, err)
	}
	return fmt.Errorf("not an osbuild manifest: not JSON: %w", err)
}

func (d *document) checkVersion() error {
	version, err := get(d.root, d.at, "version")
	if err != nil {
		return err
	}
	switch pipeline, _ := get(d.root, d.at, "pipeline"); {
	case version == nil && pipeline == nil:
		return errors.New(`not an osbuild manifest: it has no "version"`)
	case version == nil || text(version) == "1":
		return hint.Add(errors.New("an osbuild manifest of version 1, which has no containers"),
			`write it as version 2: "version": "2" and a list of "pipelines", as image-builder and osbuild-mpp do`)
	case version.Value.Kind() == '0':
		return hint.Add(fmt.Errorf("not an osbuild manifest: its version is %s, and that of a manifest is \"2\", with quotation marks", version.Value),
			"name a manifest, or a pin file with --file")
	case version.Value.Kind() != '"' || text(version) != "2":
		return fmt.Errorf(`not an osbuild manifest of version "2": its version is %s`, version.Value)
	}
	return nil
}
