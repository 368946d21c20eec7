package inject

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const onePin = "my.test/a/app:1 linux/amd64 id=@a2 manifest=@b2 list=@c2"

// oneLine is a manifest as image-builder writes it: one line, without its end.
const oneLine = `{"version":"2","pipelines":[{"name":"os","stages":[{"type":"org.osbuild.skopeo","inputs":{"images":{` +
	`"type":"org.osbuild.containers","origin":"org.osbuild.source","references":{"@a1":{"name":"my.test/a/app:1"}}}}}]}],` +
	`"sources":{"org.osbuild.skopeo":{"items":{"@a1":{"image":{"name":"my.test/a/app","digest":"@b1"}}}}}}`

func TestEndOfFileStays(t *testing.T) {
	for _, end := range []string{"", "\n", "\r\n", "\n\n\n", "  "} {
		result, err := Apply([]byte(long(oneLine)+end), options(readPins(t, onePin)))
		if err != nil {
			t.Fatal(err)
		}
		want := strings.NewReplacer("@a1", "@a2", "@b1", "@b2").Replace(oneLine) + end
		if got := shorten(string(result.Data)); got != want {
			t.Errorf("got\n%q\nwant\n%q", got, want)
		}
	}
}

// TestEndsOfLinesStay fills in a manifest whose lines end as on another system.
func TestEndsOfLinesStay(t *testing.T) {
	var before bytes.Buffer
	source := strings.Replace(long(oneLine), long(`"@a1":{"name"`), `"my.test/a/app:1":{"name"`, 1)
	if err := json.Indent(&before, []byte(source), "", "   "); err != nil {
		t.Fatal(err)
	}
	crlf := bytes.ReplaceAll(before.Bytes(), []byte("\n"), []byte("\r\n"))
	o := options(readPins(t, onePin))
	want, err := Apply(before.Bytes(), o)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Apply(crlf, o)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(got.Data), "manifest-lists") {
		t.Errorf("nothing was added: %s", got.Data)
	}
	if string(got.Data) != strings.ReplaceAll(string(want.Data), "\n", "\r\n") {
		t.Errorf("got\n%q", got.Data)
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, want.Data, "", "   "); err != nil {
		t.Fatal(err)
	}
	if indented.String() != string(want.Data) {
		t.Errorf("what was added is not indented as the rest is:\n%s", want.Data)
	}
}

// TestFile looks at what happens to the file itself.
func TestFile(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "real.json"), filepath.Join(dir, "link.json")
	if err := os.WriteFile(file, []byte(long(oneLine)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real.json", link); err != nil {
		t.Fatal(err)
	}
	o := options(readPins(t, onePin))
	stat := func(path string) fs.FileInfo {
		t.Helper()
		info, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	save := func(changed bool) *Result {
		t.Helper()
		result, err := File(link, o)
		if err != nil || result.Changed != changed {
			t.Fatalf("%+v, %v", result, err)
		}
		if err := result.Save(); err != nil {
			t.Fatal(err)
		}
		return result
	}
	before := stat(file)
	result := save(true)
	if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, result.Data) {
		t.Errorf("the file holds %s, %v", got, err)
	}
	if stat(link).Mode()&fs.ModeSymlink == 0 {
		t.Error("the link is gone")
	}
	after := stat(file)
	if after.Mode() != 0o640 {
		t.Errorf("the mode is %v", after.Mode())
	}
	if os.SameFile(before, after) {
		t.Error("the file was written in place: a reader can see half of it")
	}

	save(false)
	if !os.SameFile(after, stat(file)) {
		t.Error("a file that does not change was written")
	}
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if hidden, _ := filepath.Glob(filepath.Join(dir, ".*")); err != nil || len(names)+len(hidden) != 2 {
		t.Errorf("in the directory are %v, %v", names, hidden)
	}
}

func TestRefusedFileStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.json")
	if _, err := File(path, Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	text := []byte(`{"pipeline": {}}`)
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := File(path, Options{}); err == nil || !strings.HasPrefix(err.Error(), path+": an osbuild manifest of version 1") {
		t.Errorf("got the error %v", err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, text) {
		t.Errorf("the file holds %s, %v", got, err)
	}
}

// TestFragments shows what a manifest needs for all that is pinned, without a manifest.
func TestFragments(t *testing.T) {
	got, err := Fragments(options(readPins(t, `
		my.test/a/app:1      linux/amd64 id=@a1 manifest=@b1 list=@c1
		my.test/a/app:1      linux/arm64 id=@a2 manifest=@b2 list=@c1
		my.test/a/app:latest linux/amd64 id=@a1 manifest=@b1 list=@c1
		containers-storage:localhost/x:1 linux/amd64 id=@a3 manifest=@b3`)))
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(filepath.Join("testdata", "fragments.json"))
	if err != nil && !*update {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(filepath.Join("testdata", "fragments.json"), []byte(shorten(string(got))), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if shorten(string(got)) != string(want) {
		t.Errorf("got\n%s\nwant\n%s", shorten(string(got)), want)
	}
	// What is printed is what Apply makes of the same inputs.
	var parts struct {
		Sources json.RawMessage
		Stages  []struct{ Inputs json.RawMessage }
	}
	if err := json.Unmarshal(got, &parts); err != nil {
		t.Fatal(err)
	}
	if len(parts.Stages) != 3 {
		t.Errorf("%d stages, want one for each architecture and one for the second name", len(parts.Stages))
	}
}

func TestNothingIsPinned(t *testing.T) {
	got, err := Fragments(Options{})
	if err != nil || string(got) != "{\n  \"sources\": {},\n  \"stages\": []\n}\n" {
		t.Errorf("%s, %v", got, err)
	}
	result, err := Apply([]byte(long(oneLine)), options(nil))
	if err != nil || result.Changed || len(result.Left) != 1 || result.Left[0].Name != "my.test/a/app:1" {
		t.Errorf("%+v, %v", result, err)
	}
}
