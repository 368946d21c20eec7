package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// schema is a part of a JSON Schema, Draft 4.
type schema struct {
	Ref         string `json:"$ref"`
	Description string
	Type        any
	Enum        []any
	Default     json.RawMessage
	Minimum     *int64
	Maximum     *int64
	Required    []string
	Properties  map[string]*schema
	Patterns    map[string]*schema `json:"patternProperties"`
	Items       *schema
	OneOf       []*schema
	Definitions map[string]*schema
}

// resolve returns what a reference is to. The description next to a reference is the one that counts.
func (s *schema) resolve(definitions map[string]*schema) *schema {
	if s.Ref == "" {
		return s
	}
	target := *definitions[strings.TrimPrefix(s.Ref, "#/definitions/")].resolve(definitions)
	if s.Description != "" {
		target.Description = s.Description
	}
	return &target
}

// addFields writes the fields of an object, the required ones first.
func addFields(p *page, s *schema, definitions map[string]*schema) {
	said := map[string]string{} // the first field with a definition
	names := slices.SortedFunc(maps.Keys(s.Properties), func(a, b string) int {
		if ra, rb := slices.Contains(s.Required, a), slices.Contains(s.Required, b); ra != rb {
			if ra {
				return -1
			}
			return 1
		}
		return strings.Compare(a, b)
	})
	for _, name := range names {
		field := s.Properties[name]
		if first := said[field.Ref]; first != "" && hasFields(field.resolve(definitions)) {
			p.entry(bold(name), "As `"+first+"`.")
			continue
		}
		if field.Ref != "" {
			said[field.Ref] = name
		}
		addField(p, bold(name), field.resolve(definitions), slices.Contains(s.Required, name), definitions)
	}
	for _, pattern := range slices.Sorted(maps.Keys(s.Patterns)) {
		addField(p, patternName(pattern), s.Patterns[pattern].resolve(definitions), false, definitions)
	}
}

func hasFields(s *schema) bool {
	return len(s.Properties)+len(s.Patterns)+len(s.OneOf) > 0 || s.Items != nil && s.Items.Type == "object"
}

// patternName shows which names match a pattern.
func patternName(pattern string) string {
	switch {
	case strings.HasPrefix(pattern, "^sha256:"):
		return bold("sha256:") + italic("DIGEST")
	case strings.HasPrefix(pattern, `^layer\.`):
		return bold("layer.") + italic("N")
	}
	return italic("NAME")
}

func addField(p *page, tag string, s *schema, required bool, definitions map[string]*schema) {
	text := s.Description
	if values := s.values(); len(s.Enum) > 1 {
		text = strings.TrimSpace(text + " One of " + values + ".")
	} else if values != "" {
		text = strings.TrimSpace(text + " It is " + values + ".")
	}
	var notes []string
	for _, note := range []string{s.kind(definitions), s.bounds(), s.fallback()} {
		if note != "" {
			notes = append(notes, note)
		}
	}
	if required {
		notes = append(notes, "required")
	}
	if len(notes) > 0 {
		tag += " (" + strings.ReplaceAll(escape(strings.Join(notes, ", ")), ":", `:\:`) + ")" // a line may end at a colon
	}
	p.entry(tag, text)
	of := s
	if s.Items != nil {
		of = s.Items.resolve(definitions)
	}
	if len(of.Properties)+len(of.Patterns) > 0 {
		p.below(func() { addFields(p, of, definitions) })
	}
	for _, choice := range s.OneOf {
		choice = choice.resolve(definitions)
		kind := choice.Properties["type"]
		rest := *choice
		rest.Properties = maps.Clone(choice.Properties)
		delete(rest.Properties, "type")
		p.below(func() {
			p.entry(bold("type")+" "+bold(kind.values()), "")
			p.below(func() { addFields(p, &rest, definitions) })
		})
	}
}

// kind is the type of a value in words.
func (s *schema) kind(definitions map[string]*schema) string {
	switch t := s.Type.(type) {
	case string:
		if t == "array" && s.Items != nil {
			if kind := s.Items.resolve(definitions).kind(definitions); kind != "" {
				if rest, nested := strings.CutPrefix(kind, "array"); nested {
					return "array of arrays" + rest
				}
				return "array of " + kind + "s"
			}
		}
		return t
	case []any:
		var words []string
		for _, one := range t {
			words = append(words, fmt.Sprint(one))
		}
		return strings.Join(words, " or ")
	}
	return ""
}

func (s *schema) bounds() string {
	switch {
	case s.Minimum != nil && s.Maximum != nil:
		return fmt.Sprintf("%d to %d", *s.Minimum, *s.Maximum)
	case s.Minimum != nil:
		return fmt.Sprintf("at least %d", *s.Minimum)
	}
	return ""
}

func (s *schema) fallback() string {
	if text := string(bytes.TrimSpace(s.Default)); text != "" && text != `""` {
		return "default " + strings.Trim(spaces.ReplaceAllString(text, " "), `"`)
	}
	return ""
}

var spaces = regexp.MustCompile(`\s+`)

// values are those that are allowed, where the schema lists them.
func (s *schema) values() string {
	var words []string
	for _, v := range s.Enum {
		words = append(words, fmt.Sprint(v))
	}
	return strings.Join(words, ", ")
}
