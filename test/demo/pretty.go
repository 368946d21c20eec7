package main

import (
	"bytes"
	"encoding/json"
	"strings"
)

// pretty formats a JSON document for people: short values stay on one line, and digests are shortened.
func pretty(data []byte) string {
	text, err := layout(data, "")
	if err != nil {
		return string(data) // the caller reports the error
	}
	return text
}

// layout formats one value. indent precedes its further lines.
func layout(data []byte, indent string) (string, error) {
	parts, err := members(data)
	if err != nil {
		return "", err
	}
	if parts == nil {
		return shorten(string(bytes.TrimSpace(data))), nil
	}
	open, end := string(data[:1]), string(data[len(data)-1:])
	inner := indent + "  "
	lines := make([]string, len(parts))
	length := len(indent) + 2
	for i, p := range parts {
		value, err := layout(p.value, inner)
		if err != nil {
			return "", err
		}
		lines[i] = shorten(p.key) + value
		length += len([]rune(lines[i])) + 2
	}
	flat := open + strings.Join(lines, ", ") + end
	if length <= columns-10 && !strings.Contains(flat, "\n") {
		return flat, nil
	}
	return open + "\n" + inner + strings.Join(lines, ",\n"+inner) + "\n" + indent + end, nil
}

// member is a member of an object, with its key and colon, or an element of an array.
type member struct {
	key   string
	value json.RawMessage
}

// members splits an object or an array, in order; it returns nil for other values.
func members(data []byte) ([]member, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	first, err := d.Token()
	if err != nil || (first != json.Delim('{') && first != json.Delim('[')) {
		return nil, err
	}
	parts := []member{}
	for d.More() {
		var m member
		if first == json.Delim('{') {
			key, err := d.Token()
			if err != nil {
				return nil, err
			}
			name, _ := key.(string)
			m.key = `"` + name + `": `
		}
		if err := d.Decode(&m.value); err != nil {
			return nil, err
		}
		parts = append(parts, m)
	}
	_, err = d.Token()
	return parts, err
}
