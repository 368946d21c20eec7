package request

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/santhosh-tekuri/jsonschema/v5"

	"osbuild-containers/schemas"
)

// Arguments are what a stage is called with.
type Arguments struct {
	Tree    string           // absolute path of the tree to change
	Inputs  map[string]Input // by name; never nil
	Options json.RawMessage  // an object that the stage's schema accepts
	Epoch   *int64           // meta.source-epoch in seconds; nil when there is none
}

// Input is one input of a stage.
type Input struct {
	Path string          // absolute
	Data json.RawMessage // an object; what is in it depends on the kind of input

	at []string // where in the arguments it is
}

// Formats of an image that a stage reads.
const (
	FormatDir               = "dir"
	FormatOCIArchive        = "oci-archive"
	FormatContainersStorage = "containers-storage"
)

// InputImage is one image of an input.
type InputImage struct {
	Path   string // of the folder or the archive, or of the store
	Key    string // the image id, or the name of the archive
	Format string // one of the three
	Name   string // the name the image is to have, as given
	Driver string // containers-storage only: what the host's storage.conf says, or empty
}

// DecodeArguments makes the arguments of the stage of what its caller gave: osbuild's
// file of arguments, or standard input. Fields beside those of Arguments are ignored,
// since osbuild has some that it adds; inputs and options that the stage does not know
// are refused. Arguments that are refused are an *Error.
func DecodeArguments(stage string, raw []byte) (*Arguments, error) {
	s, err := stageSchemas(stage)
	if err != nil {
		return nil, fmt.Errorf("compile schema of %s: %w", stage, err)
	}
	var found problems
	t := &tree{raw: raw, found: &found}
	if err := t.start(); err != nil {
		return nil, err
	}
	v, err := t.value()
	if err != nil {
		return nil, err
	}
	if err := t.end(); err != nil {
		return nil, err
	}
	doc := v.(map[string]any) // start has seen to it
	a := &Arguments{Inputs: map[string]Input{}}
	a.Tree = treeOf(doc, &found)
	a.inputs(doc, s.inputs, &found)
	a.Options = json.RawMessage(`{}`)
	if options := orEmpty(doc["options"]); check(s.options, options, &found, "options") {
		a.Options, _ = json.Marshal(options) // it was JSON before
	}
	a.epoch(doc, &found)
	if err := found.err(); err != nil {
		return nil, err
	}
	return a, nil
}

func treeOf(doc map[string]any, found *problems) string {
	v, given := doc["tree"]
	s, ok := v.(string)
	switch text := parsePath(s); {
	case !given:
		found.add("", "field %q is missing", "tree")
	case !ok:
		found.add("tree", "must be a string, got %s", describe(v))
	case text != "":
		found.add("tree", "%s", text)
	}
	return s
}

func (a *Arguments) inputs(doc map[string]any, schema *jsonschema.Schema, found *problems) {
	v := orEmpty(doc["inputs"])
	inputs, ok := v.(map[string]any)
	if !ok {
		found.add("inputs", "must be an object, got %s", describe(v))
		return
	}
	if !check(schema, inputs, found, "inputs") {
		return
	}
	for name, v := range inputs {
		at := []string{"inputs", name}
		fields, ok := v.(map[string]any)
		if !ok {
			found.add(joinPath(at...), "must be an object, got %s", describe(v))
			continue
		}
		path, ok := fields["path"].(string)
		if _, given := fields["path"]; !given {
			found.add(joinPath(at...), "field %q is missing", "path")
			continue
		}
		if text := parsePath(path); !ok {
			found.add(joinPath(append(at, "path")...), "must be a string, got %s", describe(fields["path"]))
		} else if text != "" {
			found.add(joinPath(append(at, "path")...), "%s", text)
		}
		data := orEmpty(fields["data"])
		if _, ok := data.(map[string]any); !ok {
			found.add(joinPath(append(at, "data")...), "must be an object, got %s", describe(data))
		}
		raw, _ := json.Marshal(data)
		a.Inputs[name] = Input{Path: path, Data: raw, at: at}
	}
}

func (a *Arguments) epoch(doc map[string]any, found *problems) {
	meta, ok := orEmpty(doc["meta"]).(map[string]any)
	if !ok {
		found.add("meta", "must be an object, got %s", describe(doc["meta"]))
		return
	}
	v := meta["source-epoch"]
	if v == nil {
		return
	}
	n, _ := v.(json.Number)
	seconds, err := strconv.ParseInt(n.String(), 10, 64)
	if err != nil {
		found.add("meta.source-epoch", "must be a whole number, got %s", describe(v))
		return
	}
	a.Epoch = &seconds
}

// Images are the images of an input of org.osbuild.containers or
// org.osbuild.containers-storage, sorted by key. What is wrong with them is an *Error.
func (in Input) Images() ([]InputImage, error) {
	var found problems
	archives, at := in.entries("archives", &found)
	images := make([]InputImage, 0, len(archives))
	for key, v := range archives {
		images = append(images, in.image(key, v, append(slices.Clone(at), key), &found))
	}
	slices.SortFunc(images, func(a, b InputImage) int { return strings.Compare(a.Key, b.Key) })
	return images, found.err()
}

func (in Input) image(key string, v any, at []string, found *problems) InputImage {
	img := InputImage{Key: key, Path: filepath.Join(in.Path, key)}
	fields, ok := v.(map[string]any)
	if !ok {
		found.add(joinPath(at...), "must be an object, got %s", describe(v))
		return img
	}
	field := func(name string, to *string) {
		v, given := fields[name]
		var ok bool
		if *to, ok = v.(string); !given {
			found.add(joinPath(at...), "field %q is missing", name)
		} else if !ok {
			found.add(joinPath(append(at, name)...), "must be a string, got %s", describe(v))
		}
	}
	field("name", &img.Name)
	field("format", &img.Format)
	switch img.Format {
	case "":
	case FormatDir, FormatOCIArchive:
		checkFileName(key, at, found)
	case FormatContainersStorage:
		if _, ok := parseDigest(key); !ok {
			found.add(joinPath(at[:len(at)-1]...), "a key %s", notDigest(key))
		}
		img.Path = filepath.Join(in.Path, "storage")
		storage, _ := fields["storage"].(map[string]any)
		img.Driver, _ = storage["driver"].(string)
	default:
		found.add(joinPath(append(at, "format")...), `must be "dir" or "oci-archive" or "containers-storage", got %s`, quote(img.Format))
	}
	return img
}

// InputFile is one file of an input.
type InputFile struct {
	Path string
	Key  string // what the input calls it: by convention a digest
}

// Files are the files of an input of org.osbuild.files, sorted by key. What is wrong
// with them is an *Error.
func (in Input) Files() ([]InputFile, error) {
	var found problems
	entries, at := in.entries("files", &found)
	files := make([]InputFile, 0, len(entries))
	for key := range entries {
		if !filepath.IsLocal(key) || strings.ContainsRune(key, 0) {
			found.add(joinPath(at...), "a key must be the path of a file below the input, got %s", quote(key))
		}
		files = append(files, InputFile{Path: filepath.Join(in.Path, key), Key: key})
	}
	slices.SortFunc(files, func(a, b InputFile) int { return strings.Compare(a.Key, b.Key) })
	return files, found.err()
}

// entries is the object of that name in the input's data, and where it is.
func (in Input) entries(name string, found *problems) (map[string]any, []string) {
	at := append(slices.Clone(in.at), "data", name)
	var data map[string]any
	d := json.NewDecoder(bytes.NewReader(in.Data))
	d.UseNumber()
	if err := d.Decode(&data); err != nil {
		found.add(joinPath(at[:len(at)-1]...), "is not an object: %v", err)
		return nil, at
	}
	v, given := data[name]
	entries, ok := v.(map[string]any)
	switch {
	case !given:
		found.add(joinPath(at[:len(at)-1]...), "field %q is missing", name)
	case !ok:
		found.add(joinPath(at...), "must be an object, got %s", describe(v))
	}
	return entries, at
}

// ImageID is the key as an image id, or "" where it is none.
func (img InputImage) ImageID() digest.Digest {
	id, _ := parseDigest(img.Key)
	return id
}

// checkFileName refuses a key that would lead out of the input's folder.
func checkFileName(key string, at []string, found *problems) {
	if key == "" || key == "." || key == ".." || strings.ContainsAny(key, "/\x00") {
		found.add(joinPath(at[:len(at)-1]...), "a key must be the name of a file, got %s", quote(key))
	}
}

// orEmpty is v, or an empty object where there is nothing.
func orEmpty(v any) any {
	if v == nil {
		return map[string]any{}
	}
	return v
}

// stageSchema is what the arguments of one stage are checked against.
type stageSchema struct {
	inputs, options *jsonschema.Schema
}

func stageSchemas(stage string) (*stageSchema, error) {
	raw, err := schemas.Stage(stage)
	if err != nil {
		return nil, err
	}
	var meta struct {
		Schema map[string]json.RawMessage `json:"schema_2"`
	}
	if err := json.Unmarshal(raw, &meta); err != nil {
		return nil, err
	}
	// A stage that says nothing has neither, as osbuild understands it.
	for _, part := range []string{"inputs", "options"} {
		if meta.Schema[part] == nil {
			meta.Schema[part] = json.RawMessage(`{"type": "object", "additionalProperties": false}`)
		}
	}
	root, err := json.Marshal(meta.Schema)
	if err != nil {
		return nil, err
	}
	const url = "embedded:///stage.json"
	c := jsonschema.NewCompiler()
	c.Draft = jsonschema.Draft4
	if err := c.AddResource(url, bytes.NewReader(root)); err != nil {
		return nil, err
	}
	s := &stageSchema{}
	if s.inputs, err = c.Compile(url + "#/inputs"); err != nil {
		return nil, err
	}
	s.options, err = c.Compile(url + "#/options")
	return s, err
}
