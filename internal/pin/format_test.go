package pin

import (
	"slices"
	"strings"
	"testing"

	"osbuild-containers/internal/hint"
	"osbuild-containers/test/images"

	"osbuild-containers/internal/manifest"
)

// TestLinesRoundTrip checks that pins written as lines and read again name the same bytes.
func TestLinesRoundTrip(t *testing.T) {
	w := newWorld(t)
	w.push("images/list:v1", images.NewList(images.Of(arch("amd64"), arch("arm64"))))
	w.push("images/plain:v1", images.NewList(images.Of(arch("amd64"), arch("arm64"))))
	f := &File{Version: 1}
	f.Merge(w.pin("registry.example/images/list:v1", "amd64", "arm64"))
	f.Merge(w.pin("registry.example/images/plain:v1", "amd64", "arm64"))
	w.push("images/list:v1", arch("amd64", images.Seed(5))) // the tag moves, the pins do not
	raw, err := f.EncodeLines()
	if err != nil {
		t.Fatal(err)
	}
	texts, err := Decode(raw)
	if err != nil {
		t.Fatalf("%v\n%s", err, raw)
	}
	back := &File{Version: 1}
	for _, text := range texts {
		back.Merge(w.pin(text, "amd64", "arm64"))
	}
	for n := range back.Images {
		back.Images[n].Resolved = f.Images[n].Resolved
	}
	if string(back.Encode()) != string(f.Encode()) {
		t.Errorf("got\n%s\nwant\n%s", back.Encode(), f.Encode())
	}
	if again, err := back.EncodeLines(); err != nil || string(again) != string(raw) {
		t.Errorf("written again as\n%s\nwant\n%s", again, raw)
	}
	texts, err = Decode(f.Encode())
	if err != nil || len(texts) != 2 || texts[0] != "registry.example/images/list:v1@"+f.Images[0].List.String() {
		t.Errorf("a pin file as a list of references: %q, %v", texts, err)
	}
}

// TestDecodeAsFound decodes files as written by other tools and by people.
func TestDecodeAsFound(t *testing.T) {
	a, b := "sha256:"+strings.Repeat("a", 64), "sha256:"+strings.Repeat("b", 64)
	for name, c := range map[string]struct {
		in   string
		want []string
	}{
		"lines": {
			"# images\n\nregistry.example/x:v1@" + a + "  # renovate\r\ndocker://name\nregistry.example:5000/y@" + b + "\n",
			[]string{"registry.example/x:v1@" + a, "docker://name", "registry.example:5000/y@" + b},
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

// TestDecodeRefused pairs invalid files with errors.
func TestDecodeRefused(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"registry.example/x:v1\nnot an image\n", "line 2: \"not an image\" is not the name of an image: invalid reference format"},
		{`{"images": 1}`, "field \"version\" is missing\nimages: must be a list, got 1"},
	} {
		if got, err := Decode([]byte(c.in)); err == nil || err.Error() != c.want {
			t.Errorf("%q\ngot  %q, %v\nwant %s", c.in, got, err, c.want)
		}
	}
}

// TestLinesWithoutANotation checks that a pin that lines cannot express is an error.
func TestLinesWithoutANotation(t *testing.T) {
	stored := &File{Images: example().Images[2:3]}
	two := &File{Images: slices.Clone(example().Images[:2])}
	two.Images[1].List = sum("later")
	for want, f := range map[string]*File{
		"localhost/name:v1 is pinned in containers-storage, which the format lines cannot express": stored,
		"docker.io/library/name:v1 is pinned to both " + manifest.Short(sum("list")) + " and " + manifest.Short(sum("later")) +
			", the format lines can express only one\npin it for all its platforms at once": two,
	} {
		if _, err := f.EncodeLines(); err == nil || hint.Text(err, hint.Flags) != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}
