package inject

import (
	"fmt"

	"github.com/tailscale/hujson"
)

// slots are the references of an input, in one of osbuild's three forms: an object whose keys are ids, a list of
// objects with an id and options, a list of ids.
type slots struct {
	object *hujson.Object
	array  *hujson.Array
}

// readSlots reads references.
func readSlots(v *hujson.Value, at string) (*slots, error) {
	switch t := v.Value.(type) {
	case *hujson.Object:
		s := &slots{object: t}
		seen := make(map[string]bool, len(t.Members))
		for n := range t.Members {
			if seen[s.key(n)] {
				return nil, fmt.Errorf("%s: %s is given twice: remove one", at, s.key(n))
			}
			seen[s.key(n)] = true
			options, ok := t.Members[n].Value.Value.(*hujson.Object)
			if !ok {
				return nil, fmt.Errorf("%s[%q] must be an object", at, s.key(n))
			}
			if err := eachOnce(options, fmt.Sprintf("%s[%q].", at, s.key(n))); err != nil {
				return nil, err
			}
		}
		return s, nil
	case *hujson.Array:
		s := &slots{array: t}
		for n := range t.Elements {
			element := &t.Elements[n]
			o, ok := element.Value.(*hujson.Object)
			if !ok && element.Value.Kind() != '"' {
				return nil, fmt.Errorf("%s[%d] must be an id, or an object with one", at, n)
			}
			if !ok {
				continue
			}
			place := fmt.Sprintf("%s[%d].", at, n)
			options, err := object(o, place, "options")
			if err != nil {
				return nil, err
			}
			if err := eachOnce(options, place+"options."); err != nil {
				return nil, err
			}
			if id, err := get(o, place, "id"); err != nil {
				return nil, err
			} else if id == nil || id.Value.Kind() != '"' {
				return nil, fmt.Errorf("%sid must be a string", place)
			}
		}
		return s, nil
	}
	return nil, fmt.Errorf("%s must be an object or a list", at)
}

func (s *slots) len() int {
	if s.object != nil {
		return len(s.object.Members)
	}
	return len(s.array.Elements)
}

func (s *slots) has(key string) bool {
	for n := range s.len() {
		if s.key(n) == key {
			return true
		}
	}
	return false
}

// keyAt returns the value that holds the key of reference n.
func (s *slots) keyAt(n int) *hujson.Value {
	if s.object != nil {
		return &s.object.Members[n].Name
	}
	if o, ok := s.array.Elements[n].Value.(*hujson.Object); ok {
		v, _ := get(o, "", "id")
		return v
	}
	return &s.array.Elements[n]
}

func (s *slots) key(n int) string { return text(s.keyAt(n)) }

func (s *slots) setKey(n int, key string) { setText(s.keyAt(n), key) }

// options returns the options of reference n, nil if there are none.
func (s *slots) options(n int) *hujson.Object {
	if s.object != nil {
		o, _ := s.object.Members[n].Value.Value.(*hujson.Object)
		return o
	}
	if o, ok := s.array.Elements[n].Value.(*hujson.Object); ok {
		options, _ := object(o, "", "options")
		return options
	}
	return nil
}

// setName sets the name of a reference without one. It returns false if this form of references has no names.
func (s *slots) setName(style *style, n int, name string) bool {
	if options := s.options(n); options != nil {
		if at, _ := find(options, "", "name"); at >= 0 {
			options.Members[at].Value.Value = hujson.String(name)
		} else {
			style.addField(options, len(options.Members)-1, field{"name", name})
		}
		return true
	}
	if s.array == nil {
		return false
	}
	o, ok := s.array.Elements[n].Value.(*hujson.Object)
	if ok {
		style.addField(o, len(o.Members)-1, field{"options", []field{{"name", name}}})
	}
	return ok
}

// add appends an id.
func (s *slots) add(style *style, key string) {
	if s.object != nil {
		style.addField(s.object, len(s.object.Members)-1, field{key, []field(nil)})
		return
	}
	var v any = key
	if n := len(s.array.Elements); n > 0 && s.array.Elements[n-1].Value.Kind() == '{' {
		v = []field{{"id", key}}
	}
	after := len(s.array.Elements) - 1
	lines := style.indents[s.array].lines
	if after >= 0 {
		lines, _ = inLines(&s.array.Elements[after])
	}
	style.addElement(s.array, after, style.value(v, style.indents[s.array].inner, lines))
}

// remove removes reference n.
func (s *slots) remove(n int) {
	if s.object != nil {
		removeField(s.object, n)
	} else {
		removeElement(s.array, n)
	}
}
