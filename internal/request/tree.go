package request

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

const (
	maxDepth  = 16 // levels of nesting; a request needs four
	maxNumber = 18 // characters; a longer number is no option, and costs much to check
)

// tree reads JSON (RFC 8259) strictly and piece by piece, so that the generic form of
// a request of many items is never in memory as a whole. It differs from encoding/json
// in what a caller has to know: a field that is given twice is a problem, what is not
// JSON is named by line and column, and the nesting is bounded. It is three times as
// fast as that package's token reader, too.
type tree struct {
	raw   []byte
	at    int      // the next byte
	path  []string // of the value that is being read
	found *problems
	noun  string // what the text is, for messages; "" is a request
}

func (t *tree) kind() string { return cmp.Or(t.noun, "request") }

// object reads all of the text, which has to be one object.
func (t *tree) object() (map[string]any, error) {
	if err := t.start(); err != nil {
		return nil, err
	}
	v, err := t.value()
	if err != nil {
		return nil, err
	}
	return v.(map[string]any), t.end() // start has seen to it
}

// start reads up to the one object that the text has to be.
func (t *tree) start() error {
	if !utf8.Valid(t.raw) {
		for {
			r, n := utf8.DecodeRune(t.raw[t.at:])
			if r == utf8.RuneError && n == 1 {
				return t.refuse("not JSON: the text is not UTF-8")
			}
			t.at += n
		}
	}
	if t.next() == '{' {
		return nil
	}
	if t.at == len(t.raw) {
		return Refuse("", "the %s is empty: a JSON object is expected", t.kind())
	}
	begin := t.at
	v, err := t.value()
	if err != nil {
		return err
	}
	t.at = begin
	return t.refuse("the %s must be an object, got %s", t.kind(), describe(v))
}

// end makes sure that nothing follows.
func (t *tree) end() error {
	if t.next(); t.at < len(t.raw) {
		return t.refuse("something follows the %s: one JSON object is expected", t.kind())
	}
	return nil
}

// next skips white space and returns the byte behind it, which stays; 0 at the end.
func (t *tree) next() byte {
	for ; t.at < len(t.raw); t.at++ {
		switch c := t.raw[t.at]; c {
		case ' ', '\t', '\n', '\r':
		default:
			return c
		}
	}
	return 0
}

// value reads the value that comes next.
func (t *tree) value() (any, error) {
	switch c := t.next(); {
	case c == '{':
		object := map[string]any{}
		err := t.fields(func(key string) error {
			v, err := t.value()
			if _, twice := object[key]; twice {
				t.found.add(joinPath(t.path...), "is given twice")
			}
			object[key] = v
			return err
		})
		return object, err
	case c == '[':
		return t.array()
	case c == '"':
		return t.text()
	case c == '-' || '0' <= c && c <= '9':
		return t.number()
	}
	switch {
	case t.word("true"):
		return true, nil
	case t.word("false"):
		return false, nil
	case t.word("null"):
		return nil, nil
	}
	return nil, t.unexpected("a value")
}

// word skips the word if it comes next.
func (t *tree) word(w string) bool {
	if !bytes.HasPrefix(t.raw[t.at:], []byte(w)) {
		return false
	}
	t.at += len(w)
	return true
}

// fields reads the object that comes next. visit gets each key and has to read the
// value.
func (t *tree) fields(visit func(key string) error) error {
	return t.list('}', func() error {
		if t.next() != '"' {
			return t.unexpected("a field's name in quotes")
		}
		key, err := t.text()
		if err != nil {
			return err
		}
		if t.next() != ':' {
			return t.unexpected("a colon")
		}
		t.at++
		t.path[len(t.path)-1] = key
		return visit(key)
	})
}

func (t *tree) array() (any, error) {
	values := []any{}
	err := t.list(']', func() error {
		v, err := t.value()
		values = append(values, v)
		return err
	})
	return values, err
}

// list reads what is between the bracket that comes next and the closing one.
func (t *tree) list(closing byte, element func() error) error {
	if len(t.path) == maxDepth {
		return t.refuse("nested more than %d levels deep", maxDepth)
	}
	t.at++
	t.path = append(t.path, "[]")
	for first := true; ; first = false {
		switch c := t.next(); {
		case c == closing && first:
		case first:
			if err := element(); err != nil {
				return err
			}
			continue
		case c == ',':
			t.at++
			if err := element(); err != nil {
				return err
			}
			continue
		case c != closing:
			return t.unexpected(fmt.Sprintf("a comma or %c", closing))
		}
		t.at++
		t.path = t.path[:len(t.path)-1]
		return nil
	}
}

// text reads the string that comes next.
func (t *tree) text() (string, error) {
	begin, plain := t.at, true
	for t.at++; t.at < len(t.raw); t.at++ {
		switch c := t.raw[t.at]; {
		case c == '"':
			t.at++
			if plain {
				return string(t.raw[begin+1 : t.at-1]), nil
			}
			var s string
			if err := json.Unmarshal(t.raw[begin:t.at], &s); err != nil {
				t.at = begin
				return "", t.refuse("not JSON: %v", err)
			}
			return s, nil
		case c == '\\':
			plain = false
			t.at++
		case c < ' ':
			return "", t.unexpected(`a character of a string, or \u and its code`)
		}
	}
	t.at = len(t.raw)
	return "", t.unexpected("the end of a string")
}

func (t *tree) number() (any, error) {
	begin := t.at
	for t.at < len(t.raw) && bytes.IndexByte([]byte("+-.0123456789eE"), t.raw[t.at]) >= 0 {
		t.at++
	}
	text := t.raw[begin:t.at]
	if len(text) <= maxNumber && json.Valid(text) && !bytes.ContainsAny(text, "eE") {
		return json.Number(text), nil
	}
	t.at = begin
	return nil, t.refuse("not a number that a %s can have: %s", t.kind(), cut(string(text)))
}

// unexpected is the error of a text that is not JSON from here on.
func (t *tree) unexpected(wanted string) error {
	if t.at >= len(t.raw) {
		return t.refuse("not JSON: the text ends where %s is expected", wanted)
	}
	r, _ := utf8.DecodeRune(t.raw[t.at:])
	return t.refuse("not JSON: %q where %s is expected", r, wanted)
}

// refuse is an error that says where in the text the reading has come to.
func (t *tree) refuse(format string, args ...any) error {
	before := t.raw[:t.at]
	line := bytes.Count(before, []byte("\n")) + 1
	column := utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1
	return Refuse("", "line %d, column %d: %s", line, column, fmt.Sprintf(format, args...))
}
