package inject

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/tailscale/hujson"

	"osbuild-containers/internal/pin"
	"osbuild-containers/internal/request"
)

// mask takes out of a document what pins may change: the items of sources, references to images,
// lists, and stages that are copies of the one before them. It is what must stay byte for byte.
func mask(t *testing.T, raw []byte) string {
	t.Helper()
	d, err := parse(raw)
	if err != nil {
		t.Fatalf("%v\n%s", err, raw)
	}
	remove := func(o *hujson.Object, names ...string) {
		for _, name := range names {
			if n, err := find(o, "", name); err == nil && n >= 0 {
				removeField(o, n)
			}
		}
		if len(o.Members) == 0 {
			o.AfterExtra = nil
		}
	}
	if sources, err := object(d.root, "", "sources"); err == nil && sources != nil {
		remove(sources, skopeoSource, indexSource, storageSource)
		if len(sources.Members) == 0 {
			remove(d.root, "sources")
		}
	}
	pipelines, _ := array(d.root, "", "pipelines")
	if pipelines == nil {
		return string(d.pack())
	}
	for n := range pipelines.Elements {
		pipeline, _ := pipelines.Elements[n].Value.(*hujson.Object)
		if pipeline == nil {
			continue
		}
		stages, _ := array(pipeline, "", "stages")
		if stages == nil {
			continue
		}
		for i := range stages.Elements {
			maskStage(stages.Elements[i].Value, remove)
		}
		for i := len(stages.Elements) - 1; i > 0; i-- {
			text := func(n int) string { return string(hujson.Value{Value: stages.Elements[n].Value}.Pack()) }
			if text(i) == text(i-1) {
				removeElement(stages, i)
			}
		}
	}
	return string(d.pack())
}

func maskStage(v hujson.ValueTrimmed, remove func(*hujson.Object, ...string)) {
	stage, ok := v.(*hujson.Object)
	if !ok {
		return
	}
	inputs, _ := object(stage, "", "inputs")
	if inputs == nil {
		return
	}
	images := false
	for n := range inputs.Members {
		in, _ := inputs.Members[n].Value.Value.(*hujson.Object)
		if kind := textOf(in, "type"); textOf(in, "origin") == fromSource && (kind == imagesInput || kind == storageInput) {
			remove(in, "references")
			images = true
		}
	}
	if lists, _ := object(inputs, "", listsName); images && (lists == nil || textOf(lists, "origin") == fromSource) {
		remove(inputs, listsName)
	}
}

// FuzzApply shows that whatever a manifest holds, nothing breaks, what is not the pins' stays byte
// for byte, the result is JSON, and a second run changes nothing.
func FuzzApply(f *testing.F) {
	f.Setenv("CONTAINERS_REGISTRIES_CONF", os.DevNull)
	files, err := filepath.Glob("testdata/cases/*.txtar")
	if err != nil || len(files) == 0 {
		f.Fatalf("%d cases, %v", len(files), err)
	}
	parsed := map[string]pin.Reference{} // reading a registries.conf each time would be most of the work
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			f.Fatal(err)
		}
		parts := map[string]string{}
		for _, part := range archive.Files {
			parts[part.Name] = string(part.Data)
		}
		images, err := json.Marshal(readPins(f, parts["pins"]))
		if err != nil {
			f.Fatal(err)
		}
		f.Add([]byte(long(parts["manifest"])), images, false)
		if parts["want"] != "" {
			f.Add([]byte(long(parts["want"])), images, true)
		}
	}
	f.Fuzz(func(t *testing.T, manifest, images []byte, insecure bool) {
		var pins []pin.Image
		if json.Unmarshal(images, &pins) != nil || len(pins) > 8 {
			t.Skip()
		}
		if slices.ContainsFunc(pins, func(p pin.Image) bool {
			return !idPattern.MatchString(p.ID.String()) || !idPattern.MatchString(p.Manifest.String()) ||
				p.List != "" && !idPattern.MatchString(p.List.String())
		}) {
			t.Skip() // a pin file holds no such thing
		}
		o := Options{Pins: pins, Insecure: insecure, Parse: func(text string) (pin.Reference, error) {
			if ref, known := parsed[text]; known {
				return ref, nil
			}
			ref, err := pin.ParseReference(request.Access{}, text)
			if err == nil && len(parsed) < 1000 {
				parsed[text] = ref
			}
			return ref, err
		}}
		result, err := Apply(manifest, o)
		if err != nil {
			return
		}
		if !json.Valid(result.Data) {
			t.Fatalf("not JSON: %s", result.Data)
		}
		if before, after := mask(t, manifest), mask(t, result.Data); before != after {
			t.Errorf("outside of images, this became\n%s\nof\n%s", after, before)
		}
		if _, err := result.Fragments(); err != nil {
			t.Errorf("fragments: %v", err)
		}
		again, err := Apply(result.Data, o)
		if err != nil {
			t.Fatalf("the result is refused: %v\n%s", err, result.Data)
		}
		if again.Changed {
			t.Errorf("a second run makes\n%s\nof\n%s", again.Data, result.Data)
		}
	})
}
