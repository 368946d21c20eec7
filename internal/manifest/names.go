package manifest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// fields are the names of all fields read by this package.
var fields = []string{
	"schemaVersion", "mediaType", "artifactType", "config", "layers", "manifests", "fsLayers", "history", "blobSum", "v1Compatibility",
	"digest", "size", "urls", "platform", "os", "architecture", "variant",
}

// fieldBit maps each field to its bit in object.seen.
var fieldBit = func() map[string]uint {
	bits := make(map[string]uint, len(fields))
	for i, name := range fields {
		bits[name] = uint(i)
	}
	return bits
}()

// object is an open object or array.
type object struct {
	array bool
	ours  bool   // this package reads its fields
	seen  uint64 // the fields seen so far
	next  bool   // this package reads the next value's fields
}

// checkNames refuses duplicate fields and fields in another case: Go's decoder takes Layers for layers and merges duplicates,
// unlike other tools. raw must be valid JSON. Only names that this package reads are checked; others, such as annotations,
// may be anything.
func checkNames(raw []byte) error {
	var stack []object
	key := false // the next string is a name
	for i := 0; i < len(raw); i++ {
		switch raw[i] {
		case '{', '[':
			ours := len(stack) == 0 || stack[len(stack)-1].next
			stack = append(stack, object{array: raw[i] == '[', ours: ours, next: ours && raw[i] == '['})
			key = raw[i] == '{'
		case '}', ']':
			stack = stack[:len(stack)-1]
			key = false
		case ',':
			key = len(stack) > 0 && !stack[len(stack)-1].array
		case '"':
			end := endOfString(raw, i)
			if key {
				if err := stack[len(stack)-1].name(raw[i:end]); err != nil {
					return err
				}
				key = false
			}
			i = end - 1
		}
	}
	return nil
}

// endOfString returns the offset after the string at start.
func endOfString(raw []byte, start int) int {
	for i := start + 1; ; {
		end := i + bytes.IndexByte(raw[i:], '"')
		slash := bytes.IndexByte(raw[i:end], '\\')
		if slash < 0 {
			return end + 1
		}
		i += slash + 2 // skip the escaped character
	}
}

// name records a field of the object.
func (o *object) name(quoted []byte) error {
	o.next = false
	if !o.ours {
		return nil
	}
	name := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(name, '\\') >= 0 {
		var s string
		if err := json.Unmarshal(quoted, &s); err != nil {
			return err
		}
		name = []byte(s)
	}
	bit, known := fieldBit[string(name)]
	if !known {
		for _, field := range fields {
			if strings.EqualFold(field, string(name)) {
				return fmt.Errorf("manifest is ambiguous: it has a field %q, which some tools take for %q", name, field)
			}
		}
		return nil
	}
	if o.seen&(1<<bit) != 0 {
		return fmt.Errorf("manifest is ambiguous: it has the field %q twice", name)
	}
	o.seen |= 1 << bit
	switch fields[bit] {
	case "config", "layers", "manifests", "platform", "fsLayers", "history":
		o.next = true
	}
	return nil
}
