package request

import (
	"encoding/json"
	"fmt"
)

// DecodeDocument validates a JSON file against a JSON Schema (Draft 4) and decodes it into v. A refusal is an [*Error]
// that lists every problem.
func DecodeDocument(schema, raw []byte, v any) error {
	const url = "embedded:///document.json"
	c, err := compiler(map[string][]byte{url: schema})
	if err != nil {
		return fmt.Errorf("compile schema: %w", err)
	}
	compiled, err := c.Compile(url)
	if err != nil {
		return fmt.Errorf("compile schema: %w", err)
	}
	var found problems
	doc, err := newDocument(raw, "file")
	if err != nil {
		return err
	}
	generic, err := doc.object()
	if err != nil {
		return err
	}
	check(compiled, generic, &found)
	if err := found.err(); err != nil {
		return err
	}
	if err := json.Unmarshal(raw, v); err != nil {
		return Refuse("", "%v", err)
	}
	return nil
}
