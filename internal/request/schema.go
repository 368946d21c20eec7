package request

import (
	"bytes"
	"encoding/json"
	"fmt"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v5"

	"osbuild-containers/schemas"
)

// schemaSet holds the schemas of a source. The envelope and each item are validated separately.
type schemaSet struct {
	envelope *jsonschema.Schema // of a request on standard input
	source   *jsonschema.Schema // of a manifest's part for the source
	item     *jsonschema.Schema
	options  *jsonschema.Schema
}

var (
	compiledMu sync.Mutex
	compiled   = map[string]*schemaSet{}
)

// schemasOf returns the schemas of a source, compiled once.
func schemasOf(source string) (*schemaSet, error) {
	compiledMu.Lock()
	defer compiledMu.Unlock()
	if s := compiled[source]; s != nil {
		return s, nil
	}
	s, err := compile(source)
	if err != nil {
		return nil, fmt.Errorf("compile schema of %s: %w", source, err)
	}
	compiled[source] = s
	return s, nil
}

func compile(source string) (*schemaSet, error) {
	raw, err := schemas.Meta(source)
	if err != nil {
		return nil, err
	}
	var meta struct{ Schema json.RawMessage }
	if err := json.Unmarshal(raw, &meta); err != nil {
		return nil, err
	}
	const source1, request1 = "embedded:///source.json", "embedded:///request.json"
	c, err := compiler(map[string][]byte{source1: meta.Schema, request1: schemas.Request()})
	if err != nil {
		return nil, err
	}
	var s schemaSet
	for _, part := range []struct {
		to  **jsonschema.Schema
		url string
	}{
		{&s.envelope, request1},
		{&s.source, source1},
		{&s.item, source1 + "#/definitions/item"},
		{&s.options, source1 + "#/properties/options"},
	} {
		if *part.to, err = c.Compile(part.url); err != nil {
			return nil, err
		}
	}
	return &s, nil
}

// stageSchema holds the schemas of a stage.
type stageSchema struct {
	inputs, options *jsonschema.Schema
}

func stageSchemas(stage string) (*stageSchema, error) {
	raw, err := schemas.Stage(stage)
	if err != nil {
		return nil, err
	}
	var meta struct {
		Schema map[string]json.RawMessage `json:"schema_2"`
	}
	if err := json.Unmarshal(raw, &meta); err != nil {
		return nil, err
	}
	// For osbuild, a stage without one of these schemas has no inputs or no options.
	for _, part := range []string{"inputs", "options"} {
		if meta.Schema[part] == nil {
			meta.Schema[part] = json.RawMessage(`{"type": "object", "additionalProperties": false}`)
		}
	}
	root, err := json.Marshal(meta.Schema)
	if err != nil {
		return nil, err
	}
	const url = "embedded:///stage.json"
	c, err := compiler(map[string][]byte{url: root})
	if err != nil {
		return nil, err
	}
	s := &stageSchema{}
	if s.inputs, err = c.Compile(url + "#/inputs"); err != nil {
		return nil, err
	}
	s.options, err = c.Compile(url + "#/options")
	return s, err
}

// compiler returns a compiler of schemas by URL. Like osbuild's schemas, they are JSON Schema Draft 4.
func compiler(byURL map[string][]byte) (*jsonschema.Compiler, error) {
	c := jsonschema.NewCompiler()
	c.Draft = jsonschema.Draft4
	for url, raw := range byURL {
		if err := c.AddResource(url, bytes.NewReader(raw)); err != nil {
			return nil, err
		}
	}
	return c, nil
}
