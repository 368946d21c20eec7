package inject

import (
	"fmt"
	"regexp"

	"github.com/tailscale/hujson"

	"osbuild-containers/internal/pin"
)

// Names of modules.
const (
	skopeoSource  = "org.osbuild.skopeo"
	indexSource   = "org.osbuild.skopeo-index"
	storageSource = "org.osbuild.containers-storage"
	imagesInput   = "org.osbuild.containers"
	storageInput  = "org.osbuild.containers-storage"
	filesInput    = "org.osbuild.files"
	skopeoStage   = "org.osbuild.skopeo"
	fromSource    = "org.osbuild.source"
	listsName     = "manifest-lists"
)

// model is the part of a manifest that concerns images.
type model struct {
	doc          *document
	sources      map[string]*hujson.Object // items of the sources above
	images       map[string]*hujson.Object // the image object of each item, by source and key
	stages       []*stage                  // those with images
	unreferenced []*imageRef               // source items without a reference
	open         map[string]*imageRef      // references without a pin that have an item, by key
	settled      map[string]bool           // ids whose item does not change: it is also used without a pin, or equals its pin
}

// stage is a stage with images as inputs.
type stage struct {
	at     string
	kind   string
	object *hujson.Object
	in     *hujson.Array // the list of stages that contains it
	inputs *hujson.Object
	images []*input

	lists     *slots // manifest-lists; nil if it has none
	listItems []list
	listsAt   int // index in images of the input that the lists belong to
}

// input is an input with images.
type input struct {
	at      string
	name    string // of the input
	storage bool   // from the host's containers storage
	slots   *slots
	refs    []*imageRef // one for each slot
}

// An imageRef is a reference to one image.
type imageRef struct {
	at      string
	key     string // image id, or the name of an image
	name    string // name of the image at its destination, "" if not given
	storage bool
	item    item   // its current source item
	lists   *slots // manifest lists of the same stage, nil if there are none

	fresh bool // key is a name
	alias bool // name differs from the pin's: only the item's name identifies the pin
	pin   *pin.Image
}

// result returns the new key of the reference.
func (r *imageRef) result() string {
	if r.pin != nil {
		return r.pin.ID.String()
	}
	return r.key
}

// idPattern matches image ids and digests of lists.
var idPattern = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// readModel finds the images in a manifest.
func readModel(d *document) (*model, error) {
	m := &model{doc: d, sources: map[string]*hujson.Object{}, images: map[string]*hujson.Object{}}
	if err := m.readSources(); err != nil {
		return nil, err
	}
	pipelines, err := array(d.root, d.at, "pipelines")
	if err != nil {
		return nil, err
	}
	if pipelines == nil {
		pipelines = &hujson.Array{}
	}
	for n := range pipelines.Elements {
		at := fmt.Sprintf("%spipelines[%d]", d.at, n)
		pipeline, ok := pipelines.Elements[n].Value.(*hujson.Object)
		if !ok {
			return nil, fmt.Errorf("%s must be an object", at)
		}
		stages, err := array(pipeline, at+".", "stages")
		if err != nil {
			return nil, err
		}
		if stages == nil {
			continue
		}
		for i := range stages.Elements {
			if err := m.readStage(fmt.Sprintf("%s.stages[%d]", at, i), stages, i); err != nil {
				return nil, err
			}
		}
	}
	m.findUnreferenced()
	return m, nil
}

func (m *model) readStage(at string, in *hujson.Array, n int) error {
	o, ok := in.Elements[n].Value.(*hujson.Object)
	if !ok {
		return fmt.Errorf("%s must be an object", at)
	}
	inputs, err := object(o, at+".", "inputs")
	if inputs == nil || err != nil {
		return err
	}
	if err := eachOnce(o, at+"."); err != nil {
		return err
	}
	s := &stage{at: at, kind: textOf(o, "type"), object: o, in: in, inputs: inputs, listsAt: -1}
	for n := range inputs.Members {
		name := text(&inputs.Members[n].Name)
		if err := m.readInput(s, name, at+".inputs."+name); err != nil {
			return err
		}
	}
	if len(s.images) == 0 {
		return nil
	}
	m.stages = append(m.stages, s)
	if in := s.listed(); in != nil {
		for _, r := range in.refs {
			r.lists = s.lists
		}
	}
	return nil
}

func (m *model) readInput(s *stage, name, at string) error {
	o, err := object(s.inputs, s.at+".inputs.", name)
	if err != nil {
		return err
	}
	if err := eachOnce(o, at+"."); err != nil {
		return err
	}
	kind := textOf(o, "type")
	images := kind == imagesInput || kind == storageInput
	lists := kind == filesInput && name == listsName
	if textOf(o, "origin") != fromSource || !images && !lists {
		return nil
	}
	references, err := get(o, at+".", "references")
	if references == nil || err != nil {
		return err
	}
	refs, err := readSlots(references, at+".references")
	if err != nil {
		return err
	}
	if lists {
		s.lists = refs
		return nil
	}
	in := &input{at: at, name: name, storage: kind == storageInput, slots: refs}
	for n := range refs.len() {
		r := &imageRef{
			at: at, key: refs.key(n), name: textOf(refs.options(n), "name"), storage: in.storage,
		}
		r.fresh = !idPattern.MatchString(r.key)
		r.item = m.item(r)
		in.refs = append(in.refs, r)
	}
	if name == "images" && !in.storage {
		s.listsAt = len(s.images)
	}
	s.images = append(s.images, in)
	return nil
}

// references returns all references to images, in the order of the manifest.
func (m *model) references() (all []*imageRef) {
	for _, s := range m.stages {
		for _, in := range s.images {
			all = append(all, in.refs...)
		}
	}
	return append(all, m.unreferenced...)
}

// listed returns the input whose images the manifest lists belong to.
func (s *stage) listed() *input {
	if s.listsAt < 0 {
		return nil
	}
	return s.images[s.listsAt]
}
