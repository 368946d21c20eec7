package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v5"

	"osbuild-containers/internal/pin"
	"osbuild-containers/schemas"
)

//go:generate go test -tags "$TAGS" -run ^TestGolden$ . -update

var update = flag.Bool("update", false, "rewrite the golden files")

// TestGolden compares the pages with those in testdata. "make generated" writes these again.
func TestGolden(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1767225600")
	golden, dir := "testdata", t.TempDir()
	if *update {
		dir = golden
	}
	if err := write(dir); err != nil {
		t.Fatal(err)
	}
	files := map[string]int{}
	for _, top := range []string{golden, dir} {
		if err := fs.WalkDir(os.DirFS(top), ".", func(path string, e fs.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				files[path]++
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	for path := range files {
		got, _ := os.ReadFile(filepath.Join(dir, path))
		want, _ := os.ReadFile(filepath.Join(golden, path))
		if !bytes.Equal(got, want) {
			t.Errorf("%s has changed: run make generated, and look at the difference", path)
		}
	}
}

// TestPages shows that each page has what a reader looks for, and that the programs that show pages find no fault in it.
func TestPages(t *testing.T) {
	m, err := newManual("2026-01-01")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var paths []string
	for path, p := range m.pages {
		text := p.text.String()
		want := []string{"NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "SEE ALSO"}
		switch filepath.Ext(path) {
		case ".1":
			if strings.Contains(text, ".SH COMMANDS") {
				break
			}
			want = append(want, "OPTIONS")
		case ".5":
			want = []string{"NAME", "DESCRIPTION", "FIELDS", "EXAMPLES", "SEE ALSO"}
		case ".8":
			want = append(want, "EXAMPLE")
		}
		for _, section := range want {
			_, body, found := strings.Cut(text, "\n.SH "+section)
			if _, rest, _ := strings.Cut(body, "\n"); !found || rest == "" || strings.HasPrefix(rest, ".SH") {
				t.Errorf("%s: no section %s, or nothing in it", path, section)
			}
		}
		file := filepath.Join(dir, filepath.Base(path))
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, file)
	}
	for _, check := range []string{"mandoc -Tlint -Wwarning", "groff -ww -z -man -Tutf8"} {
		args := append(strings.Fields(check), paths...)
		if _, err := exec.LookPath(args[0]); err != nil {
			continue
		}
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s", check, err, out)
		}
	}
}

// TestExamples shows that osbuild would take the examples of modules, and that that of the pin file is one.
func TestExamples(t *testing.T) {
	if _, err := pin.Parse([]byte(pinFileExample)); err != nil {
		t.Errorf("pin file: %v", err)
	}
	for _, name := range schemas.Modules("sources") {
		var example map[string]any
		if err := json.Unmarshal([]byte(moduleExamples["sources/"+name]), &example); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		raw, err := schemas.Meta(name)
		validate(t, name, raw, err, "schema", example[name])
	}
	for _, name := range schemas.Modules("stages") {
		var example struct {
			Type            string
			Inputs, Options any
		}
		if err := json.Unmarshal([]byte(moduleExamples["stages/"+name]), &example); err != nil || example.Type != name {
			t.Fatalf("%s: type %q, %v", name, example.Type, err)
		}
		raw, err := schemas.Stage(name)
		validate(t, name, raw, err, "schema_2/inputs", example.Inputs)
		validate(t, name, raw, err, "schema_2/options", example.Options)
	}
}

// validate checks a value against a part of a meta.json.
func validate(t *testing.T, name string, meta []byte, err error, part string, value any) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.Draft = jsonschema.Draft4
	top, below, _ := strings.Cut(part, "/")
	var doc map[string]json.RawMessage
	if err := json.Unmarshal(meta, &doc); err != nil {
		t.Fatal(err)
	}
	if err := c.AddResource("meta.json", bytes.NewReader(doc[top])); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("meta.json#/" + below)
	if below == "" {
		s, err = c.Compile("meta.json")
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(value); err != nil {
		t.Errorf("%s, %s: %v", name, part, err)
	}
}
