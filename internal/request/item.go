package request

import (
	"bytes"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// wireItem is an item as written in a request.
type wireItem struct {
	Image wireImage `json:"image"`
}

type wireImage struct {
	Name            string `json:"name"`
	Digest          string `json:"digest"`
	TLSVerify       bool   `json:"tls-verify"`
	Transport       string `json:"containers-transport"`
	StorageLocation string `json:"storage-location"`
}

// absent marks a missing digest. It is not valid UTF-8, so no JSON string can equal it.
const absent = "\xff"

// newWireItem returns an item without fields.
func newWireItem() wireItem {
	return wireItem{wireImage{Digest: absent, TLSVerify: true, Transport: Docker}}
}

// image decodes and validates the item at the given path.
func (d *decoder) image(raw jsontext.Value, at ...string) (Image, error) {
	schema := resolve(d.schemas.item).Properties["image"]
	w, fine := d.schemas.decodeValid(raw)
	if !fine {
		v, err := part(raw, at...).value()
		if err != nil {
			return Image{}, err
		}
		fine = check(d.schemas.item, v, &d.found, at...)
		w = newWireItem()
		_ = json.Unmarshal(raw, &w) // the schema has reported other problems
	}
	if schema == nil {
		return Image{}, nil
	}
	at = append(at, "image")
	img := Image{Name: w.Image.Name, Access: Access{TLSVerify: w.Image.TLSVerify}, Transport: w.Image.Transport}
	elsewhere := "in the item's key"
	if schema.Properties["digest"] != nil {
		elsewhere = "in the field digest"
		var ok bool
		if img.Digest, ok = parseDigest(w.Image.Digest); !ok && fine {
			d.found.add(joinPath(append(at, "digest")...), "%s", notDigest(w.Image.Digest))
		}
	}
	if text := d.name(img.Name, elsewhere); text != "" {
		d.found.add(joinPath(append(at, "name")...), "%s", text)
	}
	location := w.Image.StorageLocation
	if location == "" || img.Transport != ContainersStorage {
		return img, nil // docker ignores the location, and osbuild accepts it
	}
	if text := parsePath(location); text != "" {
		d.found.add(joinPath(append(at, "storage-location")...), "%s", text)
	}
	img.StorageLocation = location
	return img, nil
}

// decodeValid decodes an item and reports whether the schema certainly accepts it. False means unknown: unusual items
// and all errors are left to the validator, which is many times slower.
func (s *schemaSet) decodeValid(raw jsontext.Value) (wireItem, bool) {
	w := newWireItem()
	item := resolve(s.item)
	if string(raw) == "{}" {
		return w, len(item.Required) == 0 && slices.Contains(item.Types, "object")
	}
	schema := item.Properties["image"]
	if schema == nil || bytes.Contains(raw, []byte("null")) { // null would leave the field unchanged
		return w, false
	}
	if err := json.Unmarshal(raw, &w, json.RejectUnknownMembers(true)); err != nil {
		return w, false
	}
	i := w.Image
	_, isDigest := parseDigest(i.Digest)
	if schema.Properties["digest"] == nil {
		isDigest = i.Digest == absent
	}
	return w, isDigest && i.Name != "" && (i.Transport == Docker || i.Transport == ContainersStorage)
}
