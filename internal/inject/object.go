package inject

import (
	"bytes"
	"fmt"
	"unicode/utf8"

	"github.com/tailscale/hujson"
)

// get returns the value of an object's field, nil if it has none. A duplicate field is an error, since tools
// disagree about which one counts. at is the path of the object, with a dot at its end.
func get(o *hujson.Object, at, name string) (*hujson.Value, error) {
	n, err := find(o, at, name)
	if n < 0 || err != nil {
		return nil, err
	}
	return &o.Members[n].Value, nil
}

// find returns the index of a field in an object, -1 if it has none.
func find(o *hujson.Object, at, name string) (int, error) {
	found := -1
	for n := range o.Members {
		if text(&o.Members[n].Name) != name {
			continue
		}
		if found >= 0 {
			return -1, fmt.Errorf("%s%s is given twice: remove one", at, name)
		}
		found = n
	}
	return found, nil
}

// eachOnce returns an error if an object has a duplicate field. The object may be nil.
func eachOnce(o *hujson.Object, at string) error {
	if o == nil {
		return nil
	}
	seen := make(map[string]bool, len(o.Members))
	for n := range o.Members {
		name := text(&o.Members[n].Name)
		if seen[name] {
			return fmt.Errorf("%s%s is given twice: remove one", at, name)
		}
		seen[name] = true
	}
	return nil
}

// object is get for a field that must be an object.
func object(o *hujson.Object, at, name string) (*hujson.Object, error) {
	v, err := get(o, at, name)
	if v == nil || err != nil {
		return nil, err
	}
	inner, ok := v.Value.(*hujson.Object)
	if !ok {
		return nil, fmt.Errorf("%s%s must be an object", at, name)
	}
	return inner, nil
}

// array is get for a field that must be an array.
func array(o *hujson.Object, at, name string) (*hujson.Array, error) {
	v, err := get(o, at, name)
	if v == nil || err != nil {
		return nil, err
	}
	inner, ok := v.Value.(*hujson.Array)
	if !ok {
		return nil, fmt.Errorf("%s%s must be a list", at, name)
	}
	return inner, nil
}

// textOf returns the string value of a field, "" if it is missing or not a string.
func textOf(o *hujson.Object, name string) string {
	if o == nil {
		return ""
	}
	for n := range o.Members {
		if text(&o.Members[n].Name) == name {
			return text(&o.Members[n].Value)
		}
	}
	return ""
}

// text returns the value of a string, "" for other values.
func text(v *hujson.Value) string {
	l, ok := v.Value.(hujson.Literal)
	if !ok || l.Kind() != '"' {
		return ""
	}
	if bytes.IndexByte(l, '\\') < 0 && utf8.Valid(l) {
		return string(l[1 : len(l)-1])
	}
	return l.String()
}

// setText changes a string. A string that already has the value is not rewritten.
func setText(v *hujson.Value, s string) {
	if text(v) != s {
		v.Value = hujson.String(s)
	}
}

// removeField removes a field and the white space before it.
func removeField(o *hujson.Object, n int) {
	if n == 0 && len(o.Members) > 1 {
		o.Members[1].Name.BeforeExtra = o.Members[0].Name.BeforeExtra
	}
	o.Members = append(o.Members[:n:n], o.Members[n+1:]...)
	if len(o.Members) > 0 {
		o.Members[len(o.Members)-1].Value.AfterExtra = nil // otherwise a comma would follow it
	}
}

// removeElement is removeField for arrays.
func removeElement(a *hujson.Array, n int) {
	if n == 0 && len(a.Elements) > 1 {
		a.Elements[1].BeforeExtra = a.Elements[0].BeforeExtra
	}
	a.Elements = append(a.Elements[:n:n], a.Elements[n+1:]...)
	if len(a.Elements) > 0 {
		a.Elements[len(a.Elements)-1].AfterExtra = nil
	}
}
