package request

import (
	"io"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v5"
)

// MaxSize is the maximum size of a request, in bytes: some 250,000 images.
const MaxSize = 64 << 20

// maxValue is the maximum size of an item, and of a field other than the items, in bytes: the generic form of a value
// takes some thirty times as much memory.
const maxValue = 1 << 20

// Read reads a request to its end. It returns an [*Error] if the request cannot be read or is larger than
// MaxSize.
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

// Decode decodes and checks a request to a source, in the form that standard input has. A refusal is an
// [*Error] that names everything that is wrong.
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

// DecodeArgs decodes and checks the arguments of a call by osbuild. Unknown arguments are ignored: they
// belong to some version of osbuild.
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

// decoder decodes one request. Items are decoded one by one, so that the generic form of a large request
// is never in memory as a whole; the envelope is everything else.
type decoder struct {
	schemas *schemaSet
	noun    string // what is decoded, in errors
	open    bool   // ignore unknown fields of the envelope

	envelopeSchema *jsonschema.Schema
	found          problems
	names          map[string]string // by name of an image: what is wrong with it, or ""
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

// read reads the fields of the envelope, and the items.
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

// readItems reads the object that comes next.
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

// finish checks the envelope and returns the request if nothing is wrong.
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

// dir returns the path in a field. The schema reports one that is missing or not a string.
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
