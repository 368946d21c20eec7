package pin

import (
	"slices"
	"strings"
	"testing"

	"osbuild-containers/test/images"
)

// TestFormatsRoundTrip shows that pins that go through the format of another tool and back name
// the same bytes.
func TestFormatsRoundTrip(t *testing.T) {
	w := newWorld(t)
	w.push("images/list:v1", images.NewList(images.Of(arch("amd64"), arch("arm64"))))
	w.push("images/plain:v1", images.NewList(images.Of(arch("amd64"), arch("arm64"))))
	f := &File{Version: 1}
	f.Merge(w.pin("registry.example/images/list:v1", "amd64", "arm64"))
	f.Merge(w.pin("registry.example/images/plain:v1", "amd64", "arm64"))
	w.push("images/list:v1", arch("amd64", images.Seed(5))) // the tag moves, the pins do not
	for _, format := range Formats {
		raw, err := f.EncodeAs(format)
		if err != nil {
			t.Fatal(err)
		}
		texts, err := Decode(raw)
		if err != nil {
			t.Fatalf("%s: %v\n%s", format, err, raw)
		}
		back := &File{Version: 1}
		for _, text := range texts {
			back.Merge(w.pin(text, "amd64", "arm64"))
		}
		for n := range back.Images {
			back.Images[n].Resolved = f.Images[n].Resolved
		}
		if string(back.Encode()) != string(f.Encode()) {
			t.Errorf("%s: got\n%s\nwant\n%s", format, back.Encode(), f.Encode())
		}
		if again, err := back.EncodeAs(format); err != nil || string(again) != string(raw) {
			t.Errorf("%s: written again as\n%s\nwant\n%s", format, again, raw)
		}
	}
	texts, err := Decode(f.Encode())
	if err != nil || len(texts) != 2 || texts[0] != "registry.example/images/list:v1@"+f.Images[0].List.String() {
		t.Errorf("a pin file as a list of references: %q, %v", texts, err)
	}
}

// TestDecodeAsFound shows what is read of files as other tools and people write them.
func TestDecodeAsFound(t *testing.T) {
	a, b := "sha256:"+strings.Repeat("a", 64), "sha256:"+strings.Repeat("b", 64)
	for name, c := range map[string]struct {
		in   string
		want []string
	}{
		"kbld": {
			"---\napiVersion: imgpkg.carvel.dev/v1alpha1\nimages:\n- annotations:\n    kbld.carvel.dev/id: nginx:1.25\n" +
				"    kbld.carvel.dev/origins: |\n      - resolved:\n          tag: \"1.25\"\n          url: nginx:1.25\n  image: index.docker.io/library/nginx@" + a + "\nkind: ImagesLock\n",
			[]string{"docker.io/library/nginx:1.25@" + a},
		},
		"kbld, relocated": {
			"apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\nimages:\n- annotations:\n    kbld.carvel.dev/id: quay.example/x:v1\n  image: registry.example/bundle@" + a + "\n",
			[]string{"registry.example/bundle:v1@" + a},
		},
		"imgpkg, without a tag": {
			"apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\nimages:\n- image: registry.example/x@" + a + "\n",
			[]string{"registry.example/x@" + a},
		},
		"lines": {
			"# images\n\nregistry.example/x:v1@" + a + "  # renovate\r\ndocker://name\nregistry.example:5000/y@" + b + "\n",
			[]string{"registry.example/x:v1@" + a, "docker://name", "registry.example:5000/y@" + b},
		},
		"policy": {
			`{"version": 1, "rules": [
			  {"action": "DENY", "selector": {"identifier": "*"}},
			  {"action": "CONVERT", "selector": {"identifier": "docker-image://docker.io/library/alpine:latest", "match_type": "EXACT"}, "updates": {"identifier": "docker-image://docker.io/library/alpine@` + a + `"}},
			  {"action": "CONVERT", "selector": {"identifier": "docker-image://docker.io/library/*"}, "updates": {"identifier": "docker-image://registry.example/x:v1@` + b + `"}},
			  {"action": "CONVERT", "selector": {"identifier": "docker-image://docker.io/library/busybox:v2"}, "updates": {"identifier": "docker-image://registry.example/y@` + a + `"}},
			  {"action": "CONVERT", "selector": {"identifier": "https://example.com/x"}, "updates": {"identifier": "https://example.com/y"}}]}`,
			[]string{"docker.io/library/alpine:latest@" + a, "registry.example/x:v1@" + b, "registry.example/y@" + a},
		},
		"pin file": {
			string(example().Encode()),
			[]string{
				"docker.io/library/name:v1@" + sum("list").String(), "containers-storage:[/var/lib/x]localhost/name:v1",
				"registry.example/name@" + sum("fixed").String(),
			},
		},
		"nothing": {"", nil},
	} {
		got, err := Decode([]byte(c.in))
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, %v; want %q", name, got, err, c.want)
		}
	}
}

// TestDecodeRefused shows what is no list of references.
func TestDecodeRefused(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"registry.example/x:v1\nnot an image\n", "line 2: \"not an image\" is not the name of an image: invalid reference format"},
		{"apiVersion: v1\nkind: Pod\n", `apiVersion "v1" and kind "Pod" are not those of an ImagesLock, imgpkg.carvel.dev/v1alpha1`},
		{"apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\nimages:\n- image: x:v1\n", `images[0].image: "x:v1" has no digest sha256:…`},
		{"apiVersion: imgpkg.carvel.dev/v1alpha1\nkind: ImagesLock\n---\nkind: other\n", "several YAML documents are in the file: one ImagesLock is expected"},
		{`{"rules": []}`, "this source policy converts no image to one with a digest"},
		{`{"rules": [{"action": "CONVERT", "selector": {}, "updates": {"identifier": "docker-image://x:v1"}}]}`, `rules[0].updates.identifier: "x:v1" has no digest sha256:…`},
		{`{"images": 1}`, "field \"version\" is missing\nimages: must be a list, got 1"},
	} {
		if got, err := Decode([]byte(c.in)); err == nil || err.Error() != c.want {
			t.Errorf("%q\ngot  %q, %v\nwant %s", c.in, got, err, c.want)
		}
	}
}

// TestFormatsThatCannotSayIt shows that no pin is lost silently.
func TestFormatsThatCannotSayIt(t *testing.T) {
	stored := &File{Images: example().Images[2:3]}
	two := &File{Images: slices.Clone(example().Images[:2])}
	two.Images[1].List = sum("later")
	for _, format := range Formats {
		want := "localhost/name:v1 is pinned in containers-storage, which the format " + format + " cannot say"
		if _, err := stored.EncodeAs(format); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", format, err, want)
		}
		want = "docker.io/library/name:v1 is pinned to both " + Short(sum("list")) + " and " + Short(sum("later")) +
			", the format " + format + " has room for one\npin it for all its platforms at once"
		if _, err := two.EncodeAs(format); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", format, err, want)
		}
	}
	if _, err := two.EncodeAs("toml"); err == nil || err.Error() != `the format "toml" is not known: use imgpkg, lines, buildkit` {
		t.Errorf("another format: %v", err)
	}
}
