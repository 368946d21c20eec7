package request

import (
	"bytes"
	"encoding/json"
	"fmt"
	"testing"

	"osbuild-containers/schemas"
)

var sources = []string{"org.osbuild.skopeo", "org.osbuild.skopeo-index", "org.osbuild.containers-storage"}

// metaOf returns the decoded meta.json of a source.
func metaOf(t *testing.T, source string) map[string]any {
	t.Helper()
	raw, err := schemas.Meta(source)
	if err != nil {
		t.Fatal(err)
	}
	var meta map[string]any
	if err := json.Unmarshal(raw, &meta); err != nil {
		t.Fatal(err)
	}
	return meta
}

func at(t *testing.T, v any, keys ...string) any {
	t.Helper()
	for _, key := range keys {
		var ok bool
		if v, ok = v.(map[string]any)[key]; !ok {
			t.Fatalf("no %q in %v", key, keys)
		}
	}
	return v
}

// TestDecodeValidAgreesWithTheValidator changes a valid item one field at a time. Items accepted without the validator must be valid,
// and common items must not need the validator.
func TestDecodeValidAgreesWithTheValidator(t *testing.T) {
	const digest = "sha256:dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"
	good := map[string]any{
		"name": "é", "digest": digest, "tls-verify": true,
		"containers-transport": "docker", "storage-location": "",
	}
	values := []any{
		nil, true, "", "x", digest, digest + "\n", digest + "0", "x" + digest, "docker", "containers-storage", "absent",
		json.Number("1"),
		[]any{},
		map[string]any{},
	}
	accepted, refused := 0, 0
	for _, source := range sources {
		s, err := schemasOf(source)
		if err != nil {
			t.Fatal(err)
		}
		try := func(item any) {
			t.Helper()
			raw, err := json.Marshal(item)
			if err != nil {
				t.Fatal(err)
			}
			_, got := s.decodeValid(raw)
			want := s.item.Validate(item) == nil
			if got && !want {
				t.Errorf("%s: accepted %s, which the validator refuses", source, raw)
			}
			switch {
			case got:
				accepted++
			case want:
				t.Errorf("%s: needed the validator for %s", source, raw)
			default:
				refused++
			}
		}
		for _, v := range values {
			try(v)
			try(map[string]any{"image": v})
		}
		for _, key := range []string{"name", "digest", "tls-verify", "containers-transport", "storage-location", "other"} {
			const none = 1 // stands for a missing field
			for _, v := range append(values, none) {
				image := map[string]any{}
				for k, g := range good {
					image[k] = g
				}
				if source == "org.osbuild.skopeo-index" {
					delete(image, "digest")
				}
				image[key] = v
				if v == none {
					delete(image, key)
				}
				try(map[string]any{"image": image})
				try(map[string]any{"image": image, "other": v})
			}
		}
	}
	if accepted < 20 || refused < 100 {
		t.Errorf("%d items were good and %d bad: these are too few to tell", accepted, refused)
	}
}

func TestDefaultsAreDocumented(t *testing.T) {
	d, err := newDecoder("org.osbuild.skopeo")
	if err != nil {
		t.Fatal(err)
	}
	o := d.options()
	for key, got := range map[string]float64{
		"retries":        float64(o.Retries),
		"timeout":        o.Timeout.Seconds(),
		"stall-timeout":  o.StallTimeout.Seconds(),
		"header-timeout": o.HeaderTimeout.Seconds(),
		"max-parallel":   float64(o.MaxParallel),
	} {
		if want := at(t, metaOf(t, "org.osbuild.skopeo"), "schema", "properties", "options", "properties", key, "default"); got != want {
			t.Errorf("%s is %v by default, the schema says %v", key, got, want)
		}
	}
}

// TestSchemasAgree compares parts that occur in several schemas.
func TestSchemasAgree(t *testing.T) {
	text := func(v any) []byte { return []byte(fmt.Sprint(v)) }
	images, lists := metaOf(t, "org.osbuild.skopeo"), metaOf(t, "org.osbuild.skopeo-index")
	if a, b := at(t, images, "schema", "properties", "options"), at(t, lists, "schema", "properties", "options"); !bytes.Equal(text(a), text(b)) {
		t.Errorf("options of images %v\nand of lists %v", a, b)
	}
	image := []string{"schema", "definitions", "item", "properties", "image", "properties"}
	a, b := at(t, images, image...).(map[string]any), at(t, lists, image...).(map[string]any)
	delete(a, "digest")
	if !bytes.Equal(text(a), text(b)) {
		t.Errorf("fields of images %v\nand of lists %v", a, b)
	}
}
