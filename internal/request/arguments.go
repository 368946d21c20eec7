package request

import (
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/santhosh-tekuri/jsonschema/v5"
)

// Arguments are the arguments of a stage.
type Arguments struct {
	Tree    string           // absolute path of the tree to change
	Inputs  map[string]Input // by name; never nil
	Options json.RawMessage  // an object that the stage's schema accepts
	Epoch   *int64           // meta.source-epoch in seconds; nil if absent
}

// DecodeOptions decodes the options into a struct. The stage's schema has accepted them.
func (a *Arguments) DecodeOptions(into any) error { return json.Unmarshal(a.Options, into) }

// DecodeArguments decodes the arguments of a stage, from standard input or osbuild's file. It ignores unknown fields,
// since osbuild adds some, but refuses unknown inputs and options. A refusal is an [*Error].
func DecodeArguments(stage string, raw []byte) (*Arguments, error) {
	s, err := stageSchemas(stage)
	if err != nil {
		return nil, fmt.Errorf("compile schema of %s: %w", stage, err)
	}
	var found problems
	text, err := newDocument(raw, "text")
	if err != nil {
		return nil, err
	}
	a := &Arguments{Inputs: map[string]Input{}}
	doc := map[string]any{}
	err = text.fields(func(key string) (err error) {
		if key != "options" {
			doc[key], err = text.value()
			return err
		}
		v, err := text.dec.ReadValue()
		if err != nil {
			return text.explain(err)
		}
		a.Options = json.RawMessage(v.Clone())
		doc[key], err = part(v, key).value()
		return err
	})
	if err == nil {
		err = text.end()
	}
	if err != nil {
		return nil, err
	}
	a.Tree = treeOf(doc, &found)
	a.inputs(doc, s.inputs, &found)
	if doc["options"] == nil {
		a.Options = json.RawMessage(`{}`)
	}
	check(s.options, orEmpty(doc["options"]), &found, "options")
	a.epoch(doc, &found)
	if err := found.err(); err != nil {
		return nil, err
	}
	return a, nil
}

func treeOf(doc map[string]any, found *problems) string {
	v, given := doc["tree"]
	s, ok := v.(string)
	switch text := parsePath(s); {
	case !given:
		found.add("", "field %q is missing", "tree")
	case !ok:
		found.add("tree", "must be a string, got %s", describe(v))
	case text != "":
		found.add("tree", "%s", text)
	}
	return s
}

func (a *Arguments) inputs(doc map[string]any, schema *jsonschema.Schema, found *problems) {
	v := orEmpty(doc["inputs"])
	inputs, ok := v.(map[string]any)
	if !ok {
		found.add("inputs", "must be an object, got %s", describe(v))
		return
	}
	if !check(schema, inputs, found, "inputs") {
		return
	}
	for name, v := range inputs {
		at := []string{"inputs", name}
		fields, ok := v.(map[string]any)
		if !ok {
			found.add(joinPath(at...), "must be an object, got %s", describe(v))
			continue
		}
		path, ok := fields["path"].(string)
		if _, given := fields["path"]; !given {
			found.add(joinPath(at...), "field %q is missing", "path")
			continue
		}
		if text := parsePath(path); !ok {
			found.add(joinPath(append(at, "path")...), "must be a string, got %s", describe(fields["path"]))
		} else if text != "" {
			found.add(joinPath(append(at, "path")...), "%s", text)
		}
		data, ok := orEmpty(fields["data"]).(map[string]any)
		if !ok {
			found.add(joinPath(append(at, "data")...), "must be an object, got %s", describe(fields["data"]))
		}
		a.Inputs[name] = Input{Path: path, data: data, at: at}
	}
}

func (a *Arguments) epoch(doc map[string]any, found *problems) {
	meta, ok := orEmpty(doc["meta"]).(map[string]any)
	if !ok {
		found.add("meta", "must be an object, got %s", describe(doc["meta"]))
		return
	}
	v := meta["source-epoch"]
	if v == nil {
		return
	}
	n, _ := v.(json.Number)
	seconds, err := strconv.ParseInt(n.String(), 10, 64)
	if err != nil {
		found.add("meta.source-epoch", "must be a whole number, got %s", describe(v))
		return
	}
	a.Epoch = &seconds
}

// orEmpty returns v, or an empty object if v is null or absent.
func orEmpty(v any) any {
	if v == nil {
		return map[string]any{}
	}
	return v
}
