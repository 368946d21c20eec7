package inject

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/tailscale/hujson"

	"osbuild-containers/internal/hint"
)

// label returns the name of a reference in errors.
func (r *imageRef) label() string { return cmp.Or(r.name, r.item.name, r.key) }

// finalName returns the name of the image at its destination. A name that was filled in is the pinned name.
func (r *imageRef) finalName() string {
	if r.name == "" && r.fresh && r.pin != nil {
		name, _, _ := strings.Cut(r.pin.Reference, "@")
		return name
	}
	return r.name
}

// share is the part of the references that one stage keeps. osbuild supports only one name of an image per stage,
// so a second name needs another stage.
type share struct {
	input string // name of the input
	keep  []bool // by index of the reference
}

// rewrite writes references and lists to a stage. It returns further stages to insert after it, for images with
// several names.
func (s *stage) rewrite(d *document) ([]*stage, error) {
	var parts [][]share // of the stage itself, then of its copies
	for _, in := range s.images {
		places, err := s.divide(in)
		if err != nil {
			return nil, err
		}
		for n := range slices.Max(append(places, 0)) + 1 {
			sh := share{input: in.name, keep: make([]bool, len(places))}
			for i, place := range places {
				sh.keep[i] = place == n
			}
			if n == len(parts) {
				parts = append(parts, nil)
			}
			parts[n] = append(parts[n], sh)
		}
		if err := in.write(d); err != nil {
			return nil, err
		}
	}
	s.writeLists(&d.style)

	var copies []*stage
	for n := len(parts) - 1; n >= 0; n-- {
		target := s.object
		if n > 0 {
			value := (&hujson.Value{Value: s.object}).Clone()
			target = value.Value.(*hujson.Object)
			copies = append(copies, &stage{at: s.at, object: target})
		}
		s.reduce(target, parts[n], n == 0)
	}
	slices.Reverse(copies)
	return copies, nil
}

// dropped is the stage number of a redundant reference.
const dropped = -1

// divide assigns a stage to each reference: 0 is this one, n its nth copy.
func (s *stage) divide(in *input) ([]int, error) {
	places := make([]int, len(in.refs))
	same, next := map[string][]*imageRef{}, map[string]int{}
	for n, r := range in.refs {
		others := same[r.result()]
		if r.pin == nil && !slices.ContainsFunc(others, func(o *imageRef) bool { return o.pin != nil }) {
			same[r.result()], next[r.result()] = append(others, r), 1
			continue // osbuild accepts duplicate ids in a list
		}
		if slices.ContainsFunc(others, func(o *imageRef) bool { return o.finalName() == r.finalName() }) {
			places[n] = dropped
			continue
		}
		if len(others) > 0 && !s.canSplit() {
			return nil, hint.Add(fmt.Errorf("%s: %s and %s are the same image, %s, and a stage can give an image only one name",
				in.at, others[0].finalName(), r.finalName(), r.result()), "make two stages of it")
		}
		places[n] = next[r.result()]
		next[r.result()]++
		same[r.result()] = append(others, r)
	}
	return places, nil
}

// canSplit reports whether a copy of the stage, with other images, adds to the result of the stage.
func (s *stage) canSplit() bool {
	options, err := object(s.object, "", "options")
	if options == nil || err != nil || s.kind != skopeoStage || len(s.images) != 1 {
		return false
	}
	destination, err := object(options, "", "destination")
	return destination != nil && err == nil && textOf(destination, "type") == "containers-storage"
}

// write sets the id of each reference, and its name if it is new.
func (in *input) write(d *document) error {
	for n, r := range in.refs {
		if r.pin == nil {
			continue
		}
		in.slots.setKey(n, r.result())
		if r.name == "" && r.fresh && !in.slots.setName(&d.style, n, r.finalName()) {
			return hint.Add(fmt.Errorf("%s: %q has no place for the name of the image", in.at, r.key), "write {%q: {\"name\": %q}}", r.key, r.finalName())
		}
	}
	return nil
}

// reduce removes all references that are not in the shares from a stage or a copy.
func (s *stage) reduce(o *hujson.Object, shares []share, original bool) {
	inputs, _ := object(o, "", "inputs")
	kept := map[*imageRef]bool{}
	for _, sh := range shares {
		in := s.images[slices.IndexFunc(s.images, func(in *input) bool { return in.name == sh.input })]
		slots := slotsOf(inputs, sh.input)
		for n := len(sh.keep) - 1; n >= 0; n-- {
			if sh.keep[n] {
				kept[in.refs[n]] = true
			} else {
				slots.remove(n)
			}
		}
	}
	lists := slotsOf(inputs, listsName)
	if lists == nil {
		return
	}
	removed := false
	for n := lists.len() - 1; n >= 0; n-- {
		if !s.wantsList(lists.key(n), kept, original) {
			lists.remove(n)
			removed = true
		}
	}
	if removed && lists.len() == 0 {
		n, _ := find(inputs, "", listsName)
		removeField(inputs, n)
	}
}

// wantsList reports whether a list belongs to one of the images. Lists of unknown images stay in the original
// stage.
func (s *stage) wantsList(key string, kept map[*imageRef]bool, original bool) bool {
	for _, l := range s.listItems {
		if l.key != key {
			continue
		}
		images := append(slices.Clone(l.owners), l.stays...)
		if len(images) == 0 {
			return original
		}
		return slices.ContainsFunc(images, func(r *imageRef) bool { return kept[r] })
	}
	return original
}

// slotsOf returns the references of an input, nil if there is no such input. They were parsed before without an
// error.
func slotsOf(inputs *hujson.Object, name string) *slots {
	in, _ := object(inputs, "", name)
	if in == nil {
		return nil
	}
	references, _ := get(in, "", "references")
	if references == nil {
		return nil
	}
	s := &slots{}
	s.object, _ = references.Value.(*hujson.Object)
	s.array, _ = references.Value.(*hujson.Array)
	return s
}

// insert inserts copies of a stage after it.
func (s *stage) insert(d *document, copies []*stage) {
	after := slices.IndexFunc(s.in.Elements, func(v hujson.Value) bool { return v.Value == hujson.ValueTrimmed(s.object) })
	for n, c := range copies {
		d.style.addElement(s.in, after+n, c.object)
	}
}
