package request

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/santhosh-tekuri/jsonschema/v5"
)

// DecodeDocument makes v of a JSON file that schema describes, which is its JSON Schema, Draft 4. A
// file that is refused is an *Error, which says all that is wrong with it and where.
func DecodeDocument(schema, raw []byte, v any) error {
	const url = "embedded:///document.json"
	c := jsonschema.NewCompiler()
	c.Draft = jsonschema.Draft4
	if err := c.AddResource(url, bytes.NewReader(schema)); err != nil {
		return fmt.Errorf("compile schema: %w", err)
	}
	compiled, err := c.Compile(url)
	if err != nil {
		return fmt.Errorf("compile schema: %w", err)
	}
	var found problems
	t := &tree{raw: raw, found: &found, noun: "file"}
	if err := t.start(); err != nil {
		return err
	}
	doc, err := t.value()
	if err != nil {
		return err
	}
	if err := t.end(); err != nil {
		return err
	}
	check(compiled, doc, &found)
	if err := found.err(); err != nil {
		return err
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return refuse("", "%v", err)
	}
	return nil
}
