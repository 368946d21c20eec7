package request

import (
	"bytes"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxNumber is the maximum length of a number, in characters. No field needs a longer one, and checking it is slow.
const maxNumber = 18

// space is JSON white space.
const space = " \t\r\n"

// document reads one JSON object strictly: duplicate names and invalid UTF-8 are errors. All errors are [*Error];
// syntax errors have a line and a column.
type document struct {
	raw  []byte
	noun string // name of the text in errors: "request"
	dec  *jsontext.Decoder
	at   []string // path of the text in a larger document
}

// newDocument returns a document whose decoder is at the start of an object.
func newDocument(raw []byte, noun string) (*document, error) {
	d := &document{raw: raw, noun: noun, dec: jsontext.NewDecoder(bytes.NewBuffer(raw))}
	if d.dec.PeekKind() == '{' {
		return d, nil
	}
	if len(bytes.TrimLeft(raw, space)) == 0 {
		return nil, Refuse("", "the %s is empty: a JSON object is expected", noun)
	}
	v, err := d.value()
	if err != nil {
		return nil, err
	}
	return nil, Refuse("", "the %s must be a JSON object, got %s", noun, describe(v))
}

// part returns the document for a value at a path of another document.
func part(raw jsontext.Value, at ...string) *document {
	return &document{raw: raw, dec: jsontext.NewDecoder(bytes.NewBuffer(raw)), at: at}
}

// object reads the whole document.
func (d *document) object() (map[string]any, error) {
	v, err := d.value()
	if err != nil {
		return nil, err
	}
	return v.(map[string]any), d.end()
}

// end returns an error unless the whole document has been read.
func (d *document) end() error {
	if rest := bytes.TrimLeft(d.raw[d.dec.InputOffset():], space); len(rest) > 0 {
		return d.refuse(int64(len(d.raw)-len(rest)), "something follows the "+d.noun+": one JSON object is expected")
	}
	return nil
}

// fields reads an object. It calls visit for each field, which must read its value.
func (d *document) fields(visit func(name string) error) error {
	if _, err := d.dec.ReadToken(); err != nil {
		return d.explain(err)
	}
	for d.dec.PeekKind() == '"' {
		name, err := d.dec.ReadToken()
		if err != nil {
			return d.explain(err)
		}
		if err := visit(name.String()); err != nil {
			return err
		}
	}
	_, err := d.dec.ReadToken()
	return d.explain(err)
}

// skip reads the next value and returns its text. Unlike Decoder.ReadValue, it makes syntax errors name the enclosing
// list or object.
func (d *document) skip() (jsontext.Value, error) {
	from := d.dec.InputOffset()
	if err := d.dec.SkipValue(); err != nil {
		return nil, d.explain(err)
	}
	return bytes.TrimLeft(d.raw[from:d.dec.InputOffset()], space+":"), nil
}

// value reads the next value, as map[string]any, []any, string, bool, json.Number or nil.
func (d *document) value() (v any, err error) {
	err = json.UnmarshalDecode(d.dec, &v, numbers)
	return v, d.explain(err)
}

// numbers decodes numbers as json.Number.
var numbers = json.WithUnmarshalers(json.UnmarshalFromFunc(func(dec *jsontext.Decoder, v *any) error {
	if dec.PeekKind() != '0' {
		return errors.ErrUnsupported
	}
	n, err := dec.ReadValue()
	if err != nil {
		return err
	}
	if len(n) > maxNumber || bytes.ContainsAny(n, "eE") {
		return fmt.Errorf("must be a number of at most %d digits without an exponent, got %s", maxNumber, cut(string(n)))
	}
	*v = stdjson.Number(n)
	return nil
}))

// explain converts a decoder error to an [*Error].
func (d *document) explain(err error) error {
	if err == nil {
		return nil
	}
	if semantic, ok := errors.AsType[*json.SemanticError](err); ok {
		return Refuse(d.path(semantic.JSONPointer), "%v", semantic.Err)
	}
	syntax, ok := errors.AsType[*jsontext.SyntacticError](err)
	switch {
	case !ok:
		return Refuse("", "not JSON: %v", err)
	case errors.Is(syntax, jsontext.ErrDuplicateName):
		return Refuse(d.path(syntax.JSONPointer), "is given twice")
	}
	text := syntax.Err.Error()
	if errors.Is(syntax, io.ErrUnexpectedEOF) {
		text = "the text is incomplete"
	}
	return d.refuse(syntax.ByteOffset, "not JSON: "+text)
}

// path returns the path of p in the document.
func (d *document) path(p jsontext.Pointer) string {
	return joinPath(slices.AppendSeq(slices.Clone(d.at), p.Tokens())...)
}

// refuse returns an error with the line and column, in characters, of a byte offset.
func (d *document) refuse(offset int64, text string) error {
	before := d.raw[:offset]
	line := bytes.Count(before, []byte("\n")) + 1
	column := utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1
	return Refuse("", "line %d, column %d: %s", line, column, text)
}
