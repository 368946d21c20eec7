package request

import (
	"errors"
	"strings"
)

// DecodeItems decodes a source's part of an osbuild manifest, found there at a path. Unknown fields next to the items
// are ignored: other versions of osbuild may have more. A refusal is an [*Error].
func DecodeItems(source string, raw []byte, at ...string) ([]Item, error) {
	d, err := newDecoder(source)
	if err != nil {
		return nil, err
	}
	d.open, d.noun, d.envelopeSchema = true, "source", d.schemas.source
	err = d.read(raw)
	if err == nil {
		check(d.envelopeSchema, d.envelope, &d.found)
		d.sort()
		err = d.found.err()
	}
	if refused, ok := errors.AsType[*Error](err); ok {
		for n := range refused.Problems {
			p := &refused.Problems[n]
			p.Path = strings.TrimSuffix(joinPath(at...)+"."+p.Path, ".")
		}
	}
	return d.items, err
}
