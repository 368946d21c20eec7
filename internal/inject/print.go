package inject

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/tailscale/hujson"
)

// fragments are the parts of a manifest that pins determine.
type fragments struct {
	Sources map[string]fragmentItems `json:"sources"`
	Stages  []fragmentStage          `json:"stages"`
}

type fragmentItems struct {
	Items map[string]json.RawMessage `json:"items"`
}

type fragmentStage struct {
	At     string                     `json:"at,omitempty"` // path in the manifest
	Inputs map[string]json.RawMessage `json:"inputs"`
}

// Fragments returns the sources, and for each stage the inputs, that pins determine in the manifest after Apply: a
// JSON object with sources and stages.
func (r *Result) Fragments() ([]byte, error) { return r.fragments(true) }

// fragments is Fragments, with or without the paths of stages.
func (r *Result) fragments(places bool) ([]byte, error) {
	m, err := readModel(r.doc)
	if err != nil {
		return nil, err
	}
	pinned := map[string]bool{}
	for _, p := range r.Pinned {
		pinned[p.New] = true
	}
	f := fragments{Sources: map[string]fragmentItems{}, Stages: []fragmentStage{}}
	used := map[string]bool{}
	for _, r := range m.unreferenced {
		used[r.key] = pinned[r.key]
	}
	for _, s := range m.stages {
		stage := fragmentStage{Inputs: map[string]json.RawMessage{}}
		if places {
			stage.At = s.at
		}
		for _, in := range s.images {
			if slices.ContainsFunc(in.refs, func(r *imageRef) bool { return pinned[r.key] }) {
				s.show(&stage, in.name, in.slots, used)
			}
		}
		if len(stage.Inputs) == 0 {
			continue
		}
		if s.lists != nil {
			s.show(&stage, listsName, s.lists, used)
		}
		f.Stages = append(f.Stages, stage)
	}
	for name, items := range m.sources {
		shown := map[string]json.RawMessage{}
		for n := range items.Members {
			if key := text(&items.Members[n].Name); used[key] {
				shown[key] = hujson.Value{Value: items.Members[n].Value.Value}.Pack()
			}
		}
		if len(shown) > 0 {
			f.Sources[name] = fragmentItems{shown}
		}
	}
	return f.encode()
}

// show adds an input to a stage's fragment.
func (s *stage) show(to *fragmentStage, name string, refs *slots, used map[string]bool) {
	for n := range refs.len() {
		used[refs.key(n)] = true
	}
	in, _ := get(s.inputs, "", name)
	to.Inputs[name] = hujson.Value{Value: in.Value}.Pack()
}

func (f *fragments) encode() ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(f); err != nil {
		return nil, fmt.Errorf("encode the fragments: %w", err)
	}
	return b.Bytes(), nil
}

// Fragments returns the parts of a manifest that use all pinned images: the sources, and the inputs of an
// org.osbuild.skopeo stage for each platform, or of several stages if an image has several names.
func Fragments(o Options) ([]byte, error) {
	type images struct {
		Type       string                    `json:"type"`
		Origin     string                    `json:"origin"`
		References map[string]map[string]any `json:"references"`
	}
	at := map[string]images{} // by platform
	stages := []any{}
	for n, p := range o.Pins {
		if at[p.Platform].References == nil {
			at[p.Platform] = images{imagesInput, fromSource, map[string]map[string]any{}}
			stages = append(stages, map[string]any{
				"type":    skopeoStage,
				"inputs":  map[string]any{"images": at[p.Platform]},
				"options": map[string]any{"destination": map[string]any{"type": "containers-storage"}},
			})
		}
		at[p.Platform].References[fmt.Sprintf("%08d", n)] = map[string]any{} // in this order
	}
	raw, err := json.Marshal(map[string]any{"version": "2", "pipelines": []any{map[string]any{"stages": stages}}})
	if err != nil {
		return nil, err
	}
	d, err := parse(raw)
	if err != nil {
		return nil, err
	}
	m, err := readModel(d)
	if err != nil {
		return nil, err
	}
	result := &Result{doc: d}
	for _, r := range m.references() {
		var n int
		if _, err := fmt.Sscanf(r.key, "%d", &n); err != nil {
			return nil, err
		}
		r.pin = &o.Pins[n]
		result.note(r)
	}
	if err := m.write(&o, result, raw); err != nil {
		return nil, err
	}
	return result.fragments(false)
}
