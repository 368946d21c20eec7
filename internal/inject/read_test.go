package inject

import (
	"strings"
	"testing"

	"osbuild-containers/internal/request"
)

// expand writes digests into a text, where A, B and D stand for them between angle brackets.
func expand(s string) string {
	return strings.NewReplacer("<A>", digestOf("a"), "<B>", digestOf("b"), "<D>", digestOf("d")).Replace(s)
}

func digestOf(hex string) string { return "sha256:" + strings.Repeat(hex, 64) }

func TestRead(t *testing.T) {
	w, err := Read([]byte(expand(`{"version": "2", "pipelines": [], "sources": {
		"org.osbuild.curl": {"items": {"sha256:1": {"url": "x"}}},
		"org.osbuild.skopeo": {"items": {"<B>": {"image": {"name": "example.com/b", "digest": "<D>", "tls-verify": false}},
			"<A>": {"image": {"name": "example.com/a:1", "digest": "<D>", "containers-transport": "containers-storage"}}}, "options": {}},
		"org.osbuild.skopeo-index": {"items": {"<D>": {"image": {"name": "example.com/b"}}}},
		"org.osbuild.containers-storage": {"items": {"<A>": {}}}}}`)))
	if err != nil {
		t.Fatal(err)
	}
	if len(w.Images) != 2 || w.Images[0].Image.Name != "example.com/a:1" || w.Images[0].Image.Transport != request.ContainersStorage ||
		w.Images[1].ID.String() != digestOf("b") || w.Images[1].Image.TLSVerify || w.Images[1].Image.Digest.String() != digestOf("d") {
		t.Errorf("images are %+v", w.Images)
	}
	if len(w.Lists) != 1 || w.Lists[0].ID.String() != digestOf("d") || w.Lists[0].Image.Digest != "" || len(w.Stored) != 1 {
		t.Errorf("lists are %+v, stored %+v", w.Lists, w.Stored)
	}
	for _, empty := range []string{`{"pipelines": []}`, `{"sources": {}}`, `{"sources": null, "pipelines": null}`} {
		if w, err := Read([]byte(empty)); err != nil || len(w.Images)+len(w.Lists)+len(w.Stored) > 0 {
			t.Errorf("%s: %+v, %v", empty, w, err)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	const at = `sources."org.osbuild.skopeo"`
	for in, want := range map[string]string{
		`[]`:               "not an osbuild manifest: no JSON object",
		`x`:                "not an osbuild manifest: not JSON: line 1, column 1: invalid character 'x' looking for beginning of value",
		`{"version": 1}`:   "not an osbuild manifest: it has neither sources nor pipelines",
		`{"sources": [1]}`: "sources must be an object",
		`{"sources": {"org.osbuild.skopeo": []}}`:                                                                    at + ": the source must be a JSON object, got a list",
		`{"sources": {"org.osbuild.skopeo": null}}`:                                                                  at + ": the source must be a JSON object, got null",
		`{"manifest": {"version": "2", "sources": {"org.osbuild.skopeo": {}}}}`:                                      "manifest." + at + ": give exactly one of items and digests",
		`{"sources": {"org.osbuild.skopeo": {}}}`:                                                                    at + ": give exactly one of items and digests",
		`{"sources": {"org.osbuild.skopeo": {"items": {"<A>": {"image": {"name": "a"}}}}}}`:                          at + `.items.<A>.image: field "digest" is missing`,
		`{"sources": {"org.osbuild.skopeo": {"items": {"<A>": {"image": {"name": "a", "digest": "<D>", "x": 1}}}}}}`: at + `.items.<A>.image: unknown field "x"`,
		`{"sources": {"org.osbuild.skopeo": {"items": {"../<A>": {"image": {"name": "a", "digest": "<D>"}}}}}}`:      at + `.items: a key must be sha256: and 64 lower-case hexadecimal digits, got "../<A>"`,
		`{"sources": {"org.osbuild.skopeo-index": {"items": {"<A>": {"image": {"name": "a", "digest": "<D>"}}}}}}`:   `sources."org.osbuild.skopeo-index".items.<A>.image: unknown field "digest"`,
	} {
		_, err := Read([]byte(expand(in)))
		if err == nil || !strings.Contains(err.Error(), expand(want)) {
			t.Errorf("%s: got %v, want %s", in, err, expand(want))
		}
	}
}
