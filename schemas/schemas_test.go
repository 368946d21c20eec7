package schemas_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v5"

	"osbuild-containers/schemas"
)

var names = []string{"org.osbuild.skopeo", "org.osbuild.skopeo-index", "org.osbuild.containers-storage"}

// TestMetaIsWhatOsbuildLoads checks what osbuild checks: the fields of the file, and that its schema is valid for Draft 4.
func TestMetaIsWhatOsbuildLoads(t *testing.T) {
	for _, name := range names {
		raw, err := schemas.Meta(name)
		if err != nil {
			t.Fatal(err)
		}
		var meta struct {
			Summary     string
			Description []string
			Schema      json.RawMessage
		}
		strict := json.NewDecoder(bytes.NewReader(raw))
		strict.DisallowUnknownFields()
		if err := strict.Decode(&meta); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if meta.Summary == "" || strings.HasSuffix(meta.Summary, ".") || len(meta.Description) < 3 {
			t.Errorf("%s: summary %q, description of %d lines", name, meta.Summary, len(meta.Description))
		}
		for _, line := range meta.Description {
			if len(line) > 80 {
				t.Errorf("%s: line of %d characters: %s", name, len(line), line)
			}
		}
		compile(t, name, meta.Schema)
	}
	compile(t, "request", schemas.Request())
	compile(t, "pin file", schemas.PinFile())
}

// TestSchemasOfFiles checks the schemas of the files that the tool and the cache write.
func TestSchemasOfFiles(t *testing.T) {
	files, err := filepath.Glob("*.schema.json")
	if err != nil || len(files) < 2 {
		t.Fatalf("%q, %v", files, err)
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		compile(t, f, raw)
	}
}

func compile(t *testing.T, name string, schema []byte) {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.Draft = jsonschema.Draft4
	if err := c.AddResource(name, bytes.NewReader(schema)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Compile(name); err != nil {
		t.Errorf("%#v", err)
	}
}

// TestEveryPatternIsAnchored checks the patterns of all schemas: keys of patternProperties and values of pattern.
func TestEveryPatternIsAnchored(t *testing.T) {
	found := 0
	var walk func(where string, v any)
	walk = func(where string, v any) {
		object, _ := v.(map[string]any)
		for key, v := range object {
			if pattern, ok := v.(string); ok && key == "pattern" {
				found++
				anchored(t, where, pattern)
			}
			if patterns, ok := v.(map[string]any); ok && key == "patternProperties" {
				for pattern := range patterns {
					found++
					anchored(t, where, pattern)
				}
			}
			walk(where+"."+key, v)
		}
	}
	for _, name := range names {
		raw, err := schemas.Meta(name)
		if err != nil {
			t.Fatal(err)
		}
		var meta any
		if err := json.Unmarshal(raw, &meta); err != nil {
			t.Fatal(err)
		}
		walk(name, meta)
	}
	var pins any
	if err := json.Unmarshal(schemas.PinFile(), &pins); err != nil {
		t.Fatal(err)
	}
	walk("pin file", pins)
	if found != 5 {
		t.Errorf("found %d patterns, want three of keys and two of a digest", found)
	}
}

func anchored(t *testing.T, where, pattern string) {
	t.Helper()
	good := "sha256:" + strings.Repeat("a", 64)
	re := regexp.MustCompile(pattern)
	if !re.MatchString(good) || re.MatchString("../x/"+good) || re.MatchString(good+"0") {
		t.Errorf("%s: pattern %s", where, pattern)
	}
}

func TestUnknownModule(t *testing.T) {
	for _, name := range []string{"", "org.osbuild.nothing", "../schemas/org.osbuild.skopeo", "request.schema.json"} {
		if raw, err := schemas.Meta(name); err == nil {
			t.Errorf("%q has a meta.json: %s", name, raw)
		}
	}
}

// TestStagesAreWhatOsbuildLoads checks the stages' files, and that each module has one.
func TestStagesAreWhatOsbuildLoads(t *testing.T) {
	dirs, err := filepath.Glob("../stages/org.osbuild.*/main.go")
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no stages: %v", err)
	}
	files, err := filepath.Glob("stages/*.meta.json")
	if err != nil || len(files) != len(dirs) {
		t.Errorf("%d stages and %d files, %v", len(dirs), len(files), err)
	}
	for _, dir := range dirs {
		name := filepath.Base(filepath.Dir(dir))
		raw, err := schemas.Stage(name)
		if err != nil {
			t.Error(err)
			continue
		}
		var meta struct {
			Summary      string
			Description  []string
			Capabilities []string
			Schema       json.RawMessage `json:"schema_2"`
		}
		strict := json.NewDecoder(bytes.NewReader(raw))
		strict.DisallowUnknownFields()
		if err := strict.Decode(&meta); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if meta.Summary == "" || strings.HasSuffix(meta.Summary, ".") || len(meta.Description) < 3 {
			t.Errorf("%s: summary %q, description of %d lines", name, meta.Summary, len(meta.Description))
		}
		for _, line := range meta.Description {
			if len(line) > 80 {
				t.Errorf("%s: line of %d characters: %s", name, len(line), line)
			}
		}
		for _, part := range []string{"options", "inputs"} {
			c := jsonschema.NewCompiler()
			c.Draft = jsonschema.Draft4
			if err := c.AddResource(name, bytes.NewReader(meta.Schema)); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Compile(name + "#/" + part); err != nil {
				t.Errorf("%s: %s: %#v", name, part, err)
			}
		}
	}
	if _, err := schemas.Stage("org.osbuild.skopeo-index"); err == nil {
		t.Error("a source is a stage")
	}
}

// TestReservedAnnotations compares the pattern for annotations with osbuild's, which uses a lookahead: "^(?!org.osbuild|org.opencontainer).+".
func TestReservedAnnotations(t *testing.T) {
	raw, err := schemas.Stage("org.osbuild.oci-archive")
	if err != nil {
		t.Fatal(err)
	}
	var meta struct {
		Schema struct {
			Options struct {
				Properties struct {
					Annotations struct {
						PatternProperties map[string]any
					}
				}
			}
		} `json:"schema_2"`
	}
	if err := json.Unmarshal(raw, &meta); err != nil {
		t.Fatal(err)
	}
	patterns := meta.Schema.Options.Properties.Annotations.PatternProperties
	if len(patterns) != 1 {
		t.Fatalf("%d patterns, want one", len(patterns))
	}
	allowed := func(name string) bool {
		for pattern := range patterns {
			return regexp.MustCompile(pattern).MatchString(name)
		}
		return false
	}
	reserved := []string{"org.osbuild", "org.opencontainer"}
	check := func(name string) {
		want := name != "" && !strings.HasPrefix(name, reserved[0]) && !strings.HasPrefix(name, reserved[1])
		if allowed(name) != want {
			t.Errorf("%q is allowed: %v, want %v", name, !want, want)
		}
	}
	for _, r := range reserved {
		for i := range len(r) + 1 {
			check(r[:i])
			for c := byte(' '); c < 0x7f; c++ {
				check(r[:i] + string(c))
				check(r[:i] + string(c) + "x" + r[i:])
			}
		}
		check("x" + r)
		check(r + "s.image.title")
	}
}
