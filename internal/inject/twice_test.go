package inject

import (
	"strings"
	"testing"
)

// TestFieldsThatAreThereTwice: tools disagree about which of two fields counts, so that what is read
// must be there once.
func TestFieldsThatAreThereTwice(t *testing.T) {
	o := options(readPins(t, "my.test/a/b:1 linux/amd64 id=@a2 manifest=@b2"))
	const whole = `{"version": "2", "pipelines": [{"stages": [{"type": "org.osbuild.skopeo", "inputs": {"images": {
		"type": "org.osbuild.containers", "origin": "org.osbuild.source", "references": REFERENCES}},
		"options": {"destination": {"type": "containers-storage"}}}]}],
		"sources": {"org.osbuild.skopeo": {"items": {"@a1": {"image": {"name": "my.test/a/b", "digest": "@b1"}}}}}}`
	object := long(strings.Replace(whole, "REFERENCES", `{"@a1": {"name": "my.test/a/b:1"}}`, 1))
	list := long(strings.Replace(whole, "REFERENCES", `[{"id": "@a1", "options": {"name": "my.test/a/b:1"}}]`, 1))
	const stage = "pipelines[0].stages[0]."
	for _, c := range []struct{ doc, old, again, want string }{
		{object, `"digest": `, `"digest": "x", `, long("sources.org.osbuild.skopeo.items.@a1.image.digest")},
		{object, `"name": "my.test/a/b", `, `"name": "x", `, long("sources.org.osbuild.skopeo.items.@a1.image.name")},
		{object, `"type": "org.osbuild.skopeo"`, `"type": "x", `, stage + "type"},
		{object, `"type": "org.osbuild.containers"`, `"type": "x", `, stage + "inputs.images.type"},
		{object, `"origin": `, `"origin": "x", `, stage + "inputs.images.origin"},
		{object, `"name": "my.test/a/b:1"`, `"name": "x", `, long(stage + `inputs.images.references["@a1"].name`)},
		{list, `"name": "my.test/a/b:1"`, `"name": "x", `, stage + "inputs.images.references[0].options.name"},
		{object, `"version": `, `"version": "1", `, "version"},
	} {
		if _, err := Apply([]byte(c.doc), o); err != nil {
			t.Fatal(err)
		}
		twice := strings.Replace(c.doc, c.old, c.again+c.old, 1)
		if twice == c.doc {
			t.Fatalf("%s is not there", c.old)
		}
		got, err := Apply([]byte(twice), o)
		if err == nil {
			t.Errorf("%s: got\n%s", c.want, got.Data)
			continue
		}
		if want := c.want + " is given twice: remove one"; err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// TestOddBytes: bytes that are not JSON are refused, and text that is not UTF-8 is left alone.
func TestOddBytes(t *testing.T) {
	o := options(readPins(t, "my.test/a/b:1 linux/amd64 id=@a2 manifest=@b2"))
	doc := long(`{"version": "2",` + "\r\n" + `"x": "` + "\xff\xfe" + `", "y": 1.0e+3,` + "\r\n" + `"sources": {"org.osbuild.skopeo": {"items": {"@a1": {"image": {"name": "my.test/a/b", "digest": "@b1"}}}}}}` + "\r\n")
	got, err := Apply([]byte(doc), o)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.NewReplacer(long("@a1"), long("@a2"), long("@b1"), long("@b2")).Replace(doc)
	if string(got.Data) != want {
		t.Errorf("got  %q\nwant %q", got.Data, want)
	}
	for _, odd := range []string{"\xef\xbb\xbf" + doc, doc + "{}", doc + "// end", "", strings.Repeat("[", 1<<20), doc[:len(doc)-3]} {
		if _, err := Apply([]byte(odd), o); err == nil || !strings.HasPrefix(err.Error(), "not an osbuild manifest: not JSON: ") {
			t.Errorf("got %v", err)
		}
	}
}
