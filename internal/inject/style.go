package inject

import (
	"bytes"
	"slices"

	"github.com/tailscale/hujson"
)

// style is the formatting of a document, used for additions.
type style struct {
	lines bool   // fields are on lines of their own
	feed  string // line ending
	unit  string // one level of indentation
	colon string // white space after a colon
	comma string // white space after a comma, within a line

	indents map[any]indents // by *hujson.Object and *hujson.Array
}

// indents are the indentations of an object or array: of its closing bracket, and of its content if that is on
// lines of its own.
type indents struct {
	own, inner string
	lines      bool
}

func styleOf(whole *hujson.Value, root *hujson.Object) style {
	s := style{feed: "\n", unit: "  ", colon: " ", comma: " ", indents: map[any]indents{}}
	if len(root.Members) > 0 {
		first := &root.Members[0]
		s.colon = string(first.Value.BeforeExtra)
		if bytes.ContainsAny(first.Value.BeforeExtra, "\r\n") {
			s.colon = " "
		}
		s.lines = isLine(first.Name.BeforeExtra)
		if bytes.Contains(first.Name.BeforeExtra, []byte("\r\n")) {
			s.feed = "\r\n"
		}
	}
	s.comma = s.colon // files with spaces after colons mostly have them after commas too
	if object, ok := whole.Value.(*hujson.Object); ok && len(object.Members) > 0 && s.lines {
		s.unit = indentation(object.Members[0].Name.BeforeExtra)
	}
	s.note(whole, "", s.lines)
	if comma, ok := innerComma(root); ok {
		s.comma = comma
	}
	return s
}

// note records the indentation of v and all values in it. An empty value is assumed to be indented like its
// neighbours, and to have lines if they do.
func (s *style) note(v *hujson.Value, own string, lines bool) {
	if shown, ok := inLines(v); ok {
		lines = shown
	}
	in := indents{own, own + s.unit, lines}
	switch t := v.Value.(type) {
	case *hujson.Object:
		if len(t.Members) > 0 && lines {
			in.inner = indentation(t.Members[0].Name.BeforeExtra)
		}
		s.indents[t] = in
		lines = lines && s.nested(t)
		for n := range t.Members {
			s.note(&t.Members[n].Value, in.inner, lines)
		}
	case *hujson.Array:
		if len(t.Elements) > 0 && lines {
			in.inner = indentation(t.Elements[0].BeforeExtra)
		}
		s.indents[t] = in
		for n := range t.Elements {
			s.note(&t.Elements[n], in.inner, lines)
		}
	}
}

// innerComma returns the white space after the first comma within a line.
func innerComma(root *hujson.Object) (string, bool) {
	whole := hujson.Value{Value: root}
	for v := range whole.All() {
		switch t := v.Value.(type) {
		case *hujson.Object:
			if len(t.Members) > 1 && !isLine(t.Members[1].Name.BeforeExtra) {
				return string(t.Members[1].Name.BeforeExtra), true
			}
		case *hujson.Array:
			if len(t.Elements) > 1 && !isLine(t.Elements[1].BeforeExtra) {
				return string(t.Elements[1].BeforeExtra), true
			}
		}
	}
	return "", false
}

func isLine(space hujson.Extra) bool { return bytes.IndexByte(space, '\n') >= 0 }

func indentation(space hujson.Extra) string {
	return string(space[bytes.LastIndexByte(space, '\n')+1:])
}

// field is a field to add to an object; its value is a string, a bool, fields or strings.
type field struct {
	name  string
	value any
}

// value formats a new value whose closing bracket is indented by own.
func (s *style) value(v any, own string, lines bool) hujson.ValueTrimmed {
	inner, before, after := own+s.unit, func(n int) hujson.Extra {
		if n == 0 {
			return nil
		}
		return hujson.Extra(s.comma)
	}, hujson.Extra(nil)
	if lines {
		before = func(int) hujson.Extra { return hujson.Extra(s.feed + inner) }
		after = hujson.Extra(s.feed + own)
	}
	switch t := v.(type) {
	case bool:
		return hujson.Bool(t)
	case []field:
		o := &hujson.Object{}
		for n, f := range t {
			o.Members = append(o.Members, hujson.ObjectMember{
				Name:  hujson.Value{BeforeExtra: before(n), Value: hujson.String(f.name)},
				Value: hujson.Value{BeforeExtra: hujson.Extra(s.colon), Value: s.value(f.value, inner, lines)},
			})
		}
		if len(t) > 0 {
			o.AfterExtra = after
		}
		s.indents[o] = indents{own, inner, lines}
		return o
	case []string:
		a := &hujson.Array{}
		for n, e := range t {
			a.Elements = append(a.Elements, hujson.Value{BeforeExtra: before(n), Value: hujson.String(e)})
		}
		if len(t) > 0 {
			a.AfterExtra = after
		}
		s.indents[a] = indents{own, inner, lines}
		return a
	}
	return hujson.String(v.(string))
}

// addField adds a field to an object, after the one at the given index, if there is one.
func (s *style) addField(o *hujson.Object, after int, f field) {
	in := s.indents[o]
	nested := in.lines
	member := hujson.ObjectMember{Value: hujson.Value{BeforeExtra: hujson.Extra(s.colon)}}
	if len(o.Members) == 0 {
		member.Name.BeforeExtra, o.AfterExtra = s.only(in)
	} else {
		var spaces []hujson.Extra
		for n := range o.Members {
			spaces = append(spaces, o.Members[n].Name.BeforeExtra)
		}
		nested = nested && s.nested(o)
		member.Name.BeforeExtra = s.between(spaces)
		member.Value.BeforeExtra = bytes.Clone(o.Members[after].Value.BeforeExtra)
	}
	member.Name.Value = hujson.String(f.name)
	member.Value.Value = s.value(f.value, in.inner, nested)
	o.Members = slices.Insert(o.Members, after+1, member)
}

// spread puts the content of an empty object on lines of its own if its parent's is.
func (s *style) spread(o, in *hujson.Object) {
	i := s.indents[o]
	i.lines = s.indents[in].lines
	s.indents[o] = i
}

// nested reports whether the content of an object's fields is on lines of its own.
func (s *style) nested(o *hujson.Object) bool {
	for n := range o.Members {
		if lines, ok := inLines(&o.Members[n].Value); ok {
			return lines
		}
	}
	return true
}

// addElement adds a value to an array, after the one at the given index.
func (s *style) addElement(a *hujson.Array, after int, v hujson.ValueTrimmed) {
	element := hujson.Value{Value: v}
	if len(a.Elements) == 0 {
		element.BeforeExtra, a.AfterExtra = s.only(s.indents[a])
	} else {
		var spaces []hujson.Extra
		for n := range a.Elements {
			spaces = append(spaces, a.Elements[n].BeforeExtra)
		}
		element.BeforeExtra = s.between(spaces)
	}
	a.Elements = slices.Insert(a.Elements, after+1, element)
}

// only returns the white space around a value that is alone between its brackets.
func (s *style) only(in indents) (before, after hujson.Extra) {
	if !in.lines {
		return nil, nil
	}
	return hujson.Extra(s.feed + in.inner), hujson.Extra(s.feed + in.own)
}

// between returns the white space before an element that follows others; spaces are those before the others.
func (s *style) between(spaces []hujson.Extra) hujson.Extra {
	if len(spaces) > 1 {
		return bytes.Clone(spaces[1])
	}
	if isLine(spaces[0]) {
		return bytes.Clone(spaces[0])
	}
	return hujson.Extra(s.comma)
}

// inLines reports whether a value has content on lines of its own; ok is false if that cannot be determined.
func inLines(v *hujson.Value) (lines, ok bool) {
	switch t := v.Value.(type) {
	case *hujson.Object:
		if len(t.Members) > 0 {
			return isLine(t.Members[0].Name.BeforeExtra), true
		}
	case *hujson.Array:
		if len(t.Elements) > 0 {
			return isLine(t.Elements[0].BeforeExtra), true
		}
	}
	return false, false
}
