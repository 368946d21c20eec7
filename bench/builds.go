package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// builds measures whole builds of real osbuild with an empty store, with osbuild's modules and with ours. It needs a
// checkout of osbuild.
func (b *bench) builds() error {
	if b.osbuild == "" {
		fmt.Println("\nno whole builds: -osbuild names no checkout of osbuild")
		return nil
	}
	place, err := filepath.Abs(b.osbuild)
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(place, "osbuild", "__init__.py")); err != nil {
		return fmt.Errorf("-osbuild %s is no checkout of osbuild: %w", place, err)
	}
	libs, err := os.MkdirTemp("", "bench-libdir-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(libs)
	for _, lib := range []string{"theirs", "ours"} {
		if err := mixLibdir(filepath.Join(libs, lib), place); err != nil {
			return err
		}
	}
	if out, err := exec.CommandContext(b.ctx, "cp", "-r", b.lib+"/.", filepath.Join(libs, "ours")).CombinedOutput(); err != nil {
		return fmt.Errorf("lay our modules over osbuild's: %w: %s", err, out)
	}
	for _, work := range []struct {
		title  string
		stage  map[string]any
		images []string
	}{
		{"container-deploy of the large image", b.buildStage("org.osbuild.container-deploy", nil, "big"), []string{"big"}},
		{"the large image to overlay storage", b.toStorage("big"), []string{"big"}},
		{"eight images to overlay storage", b.toStorage(b.apps()...), b.apps()},
	} {
		manifest := filepath.Join(libs, "manifest.json")
		if err := os.WriteFile(manifest, []byte(b.manifest(work.stage, work.images)), 0o644); err != nil {
			return err
		}
		line := func(lib string) string {
			return fmt.Sprintf("PYTHONPATH=%s PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 -m osbuild --libdir %s --store store --output-directory out --export image %s",
				place, filepath.Join(libs, lib), manifest)
		}
		tools := []tool{{name: "**with our modules**", line: line("ours")}, {name: "osbuild's own", line: line("theirs")}}
		if err := b.compare("whole build in osbuild, empty store: "+work.title, tools); err != nil {
			return err
		}
	}
	return nil
}

// mixLibdir copies the modules of an osbuild checkout.
func mixLibdir(libdir, place string) error {
	if err := os.Mkdir(libdir, 0o755); err != nil {
		return err
	}
	for _, dir := range []string{"assemblers", "devices", "inputs", "mounts", "osbuild", "runners", "schemas", "sources", "stages"} {
		out, err := exec.Command("cp", "-rL", filepath.Join(place, dir), libdir).CombinedOutput()
		if err != nil {
			return errors.Join(err, errors.New(string(out)))
		}
		if err := os.RemoveAll(filepath.Join(libdir, dir, "test")); err != nil {
			return err
		}
	}
	return nil
}

// toStorage returns a skopeo stage that puts images into an overlay store.
func (b *bench) toStorage(images ...string) map[string]any {
	return b.buildStage("org.osbuild.skopeo", map[string]any{"destination": map[string]any{"type": "containers-storage"}}, images...)
}

// buildStage returns a stage of a manifest, with images as its input.
func (b *bench) buildStage(kind string, options map[string]any, images ...string) map[string]any {
	references := map[string]any{}
	for _, n := range images {
		references[b.images[n].ID] = map[string]any{"name": "localhost/" + n}
	}
	stage := map[string]any{"type": kind, "inputs": map[string]any{"images": map[string]any{
		"type": "org.osbuild.containers", "origin": "org.osbuild.source", "references": references,
	}}}
	if options != nil {
		stage["options"] = options
	}
	return stage
}

// manifest returns an osbuild manifest with one pipeline of one stage.
func (b *bench) manifest(stage map[string]any, images []string) string {
	items := map[string]any{}
	for _, n := range images {
		p := b.images[n]
		items[p.ID] = map[string]any{"image": map[string]any{"name": p.Ref, "digest": p.Digest, "tls-verify": false}}
	}
	return encode(map[string]any{
		"version":   "2",
		"sources":   map[string]any{"org.osbuild.skopeo": map[string]any{"items": items}},
		"pipelines": []any{map[string]any{"name": "image", "source-epoch": 1700000000, "stages": []any{stage}}},
	})
}
