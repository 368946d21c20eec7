package request

import (
	"io"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v5"
)

// MaxSize is the maximum size of a request, in bytes: about 250,000 images.
const MaxSize = 64 << 20

// maxValue is the maximum size of an item, and of any other field, in bytes: decoded into an any, a value takes about
// thirty times as much memory.
const maxValue = 1 << 20

// Read reads a request to EOF. It returns an [*Error] if reading fails or the request is larger than MaxSize.
func Read(r io.Reader) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	if err != nil {
		return nil, Refuse("", "read request: %v", err)
	}
	if len(raw) > MaxSize {
		return nil, Refuse("", "the request is larger than %d MiB", MaxSize>>20)
	}
	return raw, nil
}

// Decode decodes and validates a request in the form read from standard input. A refusal is an [*Error] that lists
// every problem.
func Decode(source string, raw []byte) (*Request, error) {
	d, err := newDecoder(source)
	if err != nil {
		return nil, err
	}
	if err := d.read(raw); err != nil {
		return nil, err
	}
	return d.finish()
}

// DecodeArgs decodes and validates the arguments of a call by osbuild. It ignores unknown arguments: other versions of
// osbuild may send more.
func DecodeArgs(source, method string, args []byte) (*Request, error) {
	d, err := newDecoder(source)
	if err != nil {
		return nil, err
	}
	d.open = true
	if err := d.read(args); err != nil {
		return nil, err
	}
	d.envelope["method"] = method
	return d.finish()
}

// decoder decodes one request. It decodes items one at a time, so that a large request is never held as generic maps;
// the envelope is everything else.
type decoder struct {
	schemas *schemaSet
	noun    string // name of the document, in errors
	open    bool   // ignore unknown fields of the envelope

	envelopeSchema *jsonschema.Schema
	found          problems
	names          map[string]string // image name to what is wrong with it, or ""
	envelope       map[string]any
	items          []Item
	key            string // "items" or "digests"
}

func newDecoder(source string) (*decoder, error) {
	s, err := schemasOf(source)
	if err != nil {
		return nil, err
	}
	return &decoder{schemas: s, noun: "request", envelopeSchema: s.envelope, names: map[string]string{}, envelope: map[string]any{}, key: "items"}, nil
}

// read reads the envelope and the items.
func (d *decoder) read(raw []byte) error {
	doc, err := newDocument(raw, d.noun)
	if err != nil {
		return err
	}
	known := d.envelopeSchema.Properties
	err = doc.fields(func(key string) error {
		if (key == "items" || key == "digests") && doc.dec.PeekKind() == '{' {
			d.key = key
			d.envelope[key] = map[string]any{}
			return d.readItems(doc)
		}
		raw, err := doc.skip()
		switch {
		case err != nil || known[key] == nil && d.open:
			return err
		case len(raw) > maxValue:
			return tooLarge(key)
		}
		d.envelope[key], err = part(raw, key).value()
		return err
	})
	if err != nil {
		return err
	}
	return doc.end()
}

func tooLarge(at ...string) error {
	return Refuse(joinPath(at...), "is larger than %d MiB", maxValue>>20)
}

// readItems reads the items object, which is next in the document.
func (d *decoder) readItems(doc *document) error {
	return doc.fields(func(key string) error {
		raw, err := doc.dec.ReadValue()
		switch {
		case err != nil:
			return doc.explain(err)
		case len(raw) > maxValue:
			return tooLarge(d.key, key)
		}
		id, ok := parseDigest(key)
		if !ok {
			d.found.add(d.key, "a key %s", notDigest(key))
		}
		img, err := d.image(raw, d.key, key)
		d.items = append(d.items, Item{ID: id, Image: img})
		return err
	})
}

// finish validates the envelope and returns the request if there are no problems.
func (d *decoder) finish() (*Request, error) {
	check(d.envelopeSchema, d.envelope, &d.found)
	d.sort()
	r := &Request{Method: d.method(), Items: d.items, Options: d.options()}
	r.Cache = d.dir("cache")
	r.DstCache = d.dir("dst_cache")
	_, given := d.envelope["dst_cache"]
	if r.Method == Copy && !given {
		d.found.add("", "field %q is missing: copy needs it", "dst_cache")
	}
	if r.Method == Download && given {
		d.found.add("dst_cache", "is for copy only, not for download")
	}
	if err := d.found.err(); err != nil {
		return nil, err
	}
	return r, nil
}

func (d *decoder) sort() {
	slices.SortFunc(d.items, func(a, b Item) int { return strings.Compare(string(a.ID), string(b.ID)) })
}

func (d *decoder) method() string {
	if method, ok := d.envelope["method"].(string); ok {
		return method
	}
	return Download
}

// dir returns the path in a field. The schema reports a field that is missing or not a string.
func (d *decoder) dir(key string) string {
	s, ok := d.envelope[key].(string)
	if !ok {
		return ""
	}
	if text := parsePath(s); text != "" {
		d.found.add(key, "%s", text)
	}
	return s
}
