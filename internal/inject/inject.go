// Package inject puts pins into osbuild manifests: the sources that fetch images and manifest lists by digest, and
// the inputs of stages that refer to them.
//
// A manifest refers to an image in one of two ways. A reference whose key is an image id is refreshed: its pin is
// selected by its name, or by the name in its source item, and by the platform of the current item. A reference
// whose key is the name of an image is filled in: the key is replaced by the id, and if the stage takes manifest
// lists, the image's list is added too.
//
// Everything else stays byte for byte as it was: order, white space, indentation, the end of the file. Additions
// are formatted like their neighbours. If a pin is ambiguous, the error names the candidates; nothing is guessed,
// and references without a pin stay. A second run changes nothing. Not guaranteed is that osbuild accepts the
// manifest in all other respects, nor that the registry still has the pinned images, since it is not asked.
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

// Options hold the pins, and how names are interpreted.
type Options struct {
	Pins []pin.Image
	// Parse interprets a name in the manifest, as pin does.
	Parse func(text string) (pin.Reference, error)
	// Insecure marks new items as fetched without checking certificates.
	Insecure bool
}

// Result is a manifest with its pins.
type Result struct {
	Data    []byte
	Changed bool // Data differs from the input
	Pinned  []Pinned
	Left    []Left

	doc  *document
	path string // of the file, "" if there is none
}

// Pinned is a reference, or its manifest list, that a pin determines.
type Pinned struct {
	At        string // path in the manifest
	Reference string // of the pin
	Platform  string
	Old       string // the previous key: an id, or the name of an image
	New       string // the image id
}

// Left is a reference that no pin matches. It was not changed.
type Left struct {
	At   string
	ID   string
	Name string
}

// Unpinned is a reference without a source item.
type Unpinned struct {
	At     string // path in the manifest
	Key    string // an id or a digest, or the name of an image to fill in
	Name   bool   // whether Key is a name
	Stored bool   // whether the image is in the host's containers storage
}

// Apply puts pins into a manifest.
func Apply(manifest []byte, o Options) (*Result, error) {
	result, err := once(manifest, &o)
	if err != nil {
		return nil, err
	}
	// If names share an item or a list after a run, these identify more references. Repeat until nothing changes,
	// which is nearly always the first time.
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

// write applies the resolved pins to the document.
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
	for n := len(m.stages) - 1; n >= 0; n-- { // from the end, so that earlier indexes stay valid
		m.stages[n].insert(m.doc, clones[m.stages[n]])
	}
	if err := m.writeSources(o); err != nil {
		return err
	}
	result.Data = m.doc.pack()
	result.Changed = !bytes.Equal(result.Data, before)
	return nil
}

// document is a manifest as text.
type document struct {
	whole hujson.Value
	root  *hujson.Object // of the manifest, which may be a field of the document
	at    string         // its path: "" or "manifest."
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
	whole, err := hujson.Parse(raw) // the decoder above has limited the depth
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
	// osbuild/images' gen-manifests and composer's tests nest it in a field.
	inner, err := object(root, "", "manifest")
	if inner != nil {
		d.root, d.at = inner, "manifest."
	}
	return d, err
}

func notJSON(raw []byte, err error) error {
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		before := raw[:max(0, min(int(syntax.Offset), len(raw))-1)]
		line, column := 1+bytes.Count(before, []byte("\n")), len(before)-bytes.LastIndexByte(before, '\n')
		return fmt.Errorf("not an osbuild manifest: not JSON: line %d, column %d: %w", line, column, err)
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
			"name a manifest, or a pin file with --pins")
	case version.Value.Kind() != '"' || text(version) != "2":
		return fmt.Errorf(`not an osbuild manifest of version "2": its version is %s`, version.Value)
	}
	return nil
}
