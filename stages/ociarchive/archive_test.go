package ociarchive

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"osbuild-containers/internal/module"
	"osbuild-containers/internal/process"
	"osbuild-containers/internal/progress"
)

// call runs the stage with the arguments, and returns its exit status and log.
func call(t *testing.T, tree, inputs, options, meta string) (int, string) {
	t.Helper()
	var log bytes.Buffer
	code := module.Stage{Name: "org.osbuild.oci-archive", Run: archive}.Main(context.Background(), module.Env{
		Env: process.Env{
			Stdin:  strings.NewReader(fmt.Sprintf(`{"tree": %q, "inputs": %s, "options": %s, "meta": %s}`, tree, inputs, options, meta)),
			Stdout: io.Discard,
			Stderr: &log,
		},
		ArgumentsPath: filepath.Join(t.TempDir(), "none"),
		APISocket:     filepath.Join(t.TempDir(), "none"),
	})
	return code, log.String()
}

// read returns the files of an archive, with its manifest and config.
func read(t *testing.T, path string) (files map[string][]byte, manifest v1.Manifest, config v1.Image) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	files = map[string][]byte{}
	for tr := tar.NewReader(f); ; {
		hdr, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[hdr.Name], err = io.ReadAll(tr); err != nil {
			t.Fatal(err)
		}
	}
	var index v1.Index
	decode := func(name string, into any) {
		if err := json.Unmarshal(files[name], into); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	decode("index.json", &index)
	decode("blobs/sha256/"+index.Manifests[0].Digest.Encoded(), &manifest)
	decode("blobs/sha256/"+manifest.Config.Digest.Encoded(), &config)
	return files, manifest, config
}

// directories makes trees with one file each and returns them as inputs.
func directories(t *testing.T, names ...string) string {
	t.Helper()
	inputs := map[string]map[string]string{}
	for _, name := range names {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
		inputs[name] = map[string]string{"path": dir}
	}
	raw, err := json.Marshal(inputs)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

const epoch = `{"source-epoch": 1700000000}`

func TestEveryOptionIsInTheImage(t *testing.T) {
	const path = `"Env":["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]`
	for _, test := range []struct{ options, platform, config, annotations string }{
		{`"architecture": "amd64"`, `amd64`, `{` + path + `,"Cmd":["sh"]}`, ``},
		{`"architecture": "x86_64"`, `amd64`, `{` + path + `,"Cmd":["sh"]}`, ``},
		{`"architecture": "armhfp"`, `arm v7`, `{` + path + `,"Cmd":["sh"]}`, ``},
		{`"architecture": "arm64", "variant": "v8", "config": {}`, `arm64 v8`, `{` + path + `,"Cmd":["sh"]}`, ``},
		{
			`"architecture": "amd64", "config": {"Cmd": ["a", "b"], "Env": ["X=1"], "Entrypoint": ["/e"], "User": "me:us",
			 "Labels": {"text": "t", "number": 1.50, "yes": true, "nothing": null, "list": [1]}, "StopSignal": "SIGINT", "WorkingDir": "/w",
			 "ExposedPorts": ["80", "53/udp"], "Volumes": ["/v"]}`, `amd64`,
			`{"User":"me:us","ExposedPorts":{"53/udp":{},"80":{}},"Env":["X=1"],"Entrypoint":["/e"],"Cmd":["a","b"],"Volumes":{"/v":{}},"WorkingDir":"/w",` +
				`"Labels":{"list":"[1]","nothing":"null","number":"1.50","text":"t","yes":"true"},"StopSignal":"SIGINT"}`, ``,
		},
		{`"architecture": "amd64", "config": {"StopSiganl": "SIGQUIT", "Cmd": [], "Env": []}`, `amd64`, `{"StopSignal":"SIGQUIT"}`, ``},
		{`"architecture": "amd64", "config": {"StopSiganl": "9", "StopSignal": "9"}`, `amd64`, `{` + path + `,"Cmd":["sh"],"StopSignal":"9"}`, ``},
		{
			`"architecture": "amd64", "annotations": {"org.osbuild.ostree.ref": "r", "org.example": "x", "orders": "y"}`, `amd64`,
			`{` + path + `,"Cmd":["sh"]}`, `{"orders":"y","org.example":"x","org.osbuild.ostree.ref":"r"}`,
		},
	} {
		tree := t.TempDir()
		if code, log := call(t, tree, directories(t, "base"), `{"filename": "i.tar", `+test.options+`}`, epoch); code != 0 {
			t.Errorf("%s: status %d, %s", test.options, code, log)
			continue
		}
		_, manifest, config := read(t, filepath.Join(tree, "i.tar"))
		got, _ := json.Marshal(config.Config)
		if string(got) != test.config {
			t.Errorf("%s\n got %s\nwant %s", test.options, got, test.config)
		}
		if got := strings.TrimSpace(config.Architecture + " " + config.Variant); got != test.platform || config.OS != "linux" {
			t.Errorf("%s: platform is %s on %s", test.options, got, config.OS)
		}
		annotations, _ := json.Marshal(manifest.Annotations)
		if got := strings.TrimPrefix(string(annotations), "null"); got != test.annotations {
			t.Errorf("%s: annotations are %s, want %s", test.options, got, test.annotations)
		}
	}
}

func TestArgumentsThatAreRefused(t *testing.T) {
	const head = "org.osbuild.oci-archive: arguments refused: "
	for _, test := range []struct{ inputs, options, meta, want string }{
		{`{"base": {"path": "/x"}}`, `{"filename": "f"}`, epoch, `options: field "architecture" is missing`},
		{`{"base": {"path": "/x"}}`, `{"filename": "f", "architecture": "a", "config": {"Cdm": []}}`, epoch, `options.config: unknown field "Cdm"`},
		{`{"base": {"path": "/x"}}`, `{"filename": "f", "architecture": "a", "annotations": {"org.osbuild.x": "y"}}`, epoch, `options.annotations: unknown field "org.osbuild.x"`},
		{`{"base": {"path": "/x"}}`, `{"filename": "f", "architecture": "a", "annotations": {"org.opencontainers.image.title": "y"}}`, epoch, `options.annotations: unknown field "org.opencontainers.image.title"`},
		{`{"base": {"path": "/x"}}`, `{"filename": "f", "architecture": "a", "config": {"StopSignal": "1", "StopSiganl": "2"}}`, epoch, `options.config.StopSiganl: must be what StopSignal is; one of the two is enough`},
		{`{"base": {"path": "/x"}}`, `{"filename": "f", "architecture": "a", "compression": "xz"}`, epoch, `options.compression: must be "gzip" or "zstd" or "none", got "xz"`},
		{`{"base": {"path": "/x"}}`, `{"filename": "f", "architecture": "a", "level": 10}`, epoch, `options.level: level 10 of gzip is not between 1 and 9`},
		{`{"base": {"path": "/x"}}`, `{"filename": "f", "architecture": "a", "compression": "none", "level": 1}`, epoch, `options.level: compression none has no level, but 1 is given`},
		{`{"base": {"path": "/x"}}`, `{"filename": "f", "architecture": "a"}`, `{"source-epoch": -1}`, `meta.source-epoch: is not a time that an archive can hold: it must be between 0 and 8589934591`},
		{`{"layer.1": {"path": "/x"}}`, `{"filename": "f", "architecture": "a"}`, epoch, `inputs: field "base" is missing`},
		{`{"base": {"path": "/x"}, "layer.0": {"path": "/x"}}`, `{"filename": "f", "architecture": "a"}`, epoch, `inputs: unknown field "layer.0"`},
	} {
		tree := t.TempDir()
		code, log := call(t, tree, test.inputs, test.options, test.meta)
		if want := head + test.want + "\n"; code != 2 || log != want {
			t.Errorf("%s %s: status %d\n got %swant %s", test.inputs, test.options, code, log, want)
		}
	}
}

func TestAFailureNamesLayerAndPath(t *testing.T) {
	tree := t.TempDir()
	code, log := call(t, tree, `{"base": {"path": "`+t.TempDir()+`"}, "layer.1": {"path": "/no/such/tree"}}`, `{"filename": "f", "architecture": "a"}`, epoch)
	want := "org.osbuild.oci-archive: failed: layer 2/2 layer.1: open tree \"/no/such/tree\": no such file or directory\n"
	if code != 1 || !strings.HasSuffix(log, want) {
		t.Errorf("status %d\n got %swant %s", code, log, want)
	}
	if left, err := os.ReadDir(tree); err != nil || len(left) > 0 {
		t.Errorf("left in the tree: %v, %v", left, err)
	}
}

func TestLayersAreInTheOrderOfTheirNames(t *testing.T) {
	for _, test := range []struct {
		names []string // in the expected order
		log   string
	}{
		{[]string{"base", "layer.1", "layer.2", "layer.9"}, ""},
		{[]string{"base", "layer.1", "layer.10", "layer.100", "layer.11", "layer.2", "layer.9"}, "warning: layer.100 is below layer.11: layers are in the order of their names\n"},
	} {
		tree := t.TempDir()
		code, log := call(t, tree, directories(t, test.names...), `{"filename": "f", "architecture": "a"}`, `{}`)
		if warning, _, _ := strings.Cut(log, "layer 1/"); code != 0 || warning != test.log {
			t.Fatalf("status %d, log %q, want it to begin with %q", code, log, test.log)
		}
		files, manifest, config := read(t, filepath.Join(tree, "f"))
		if n := len(test.names); len(manifest.Layers) != n || len(config.RootFS.DiffIDs) != n || len(config.History) != n {
			t.Fatalf("%d layers, %d diff ids, %d of history, want %d", len(manifest.Layers), len(config.RootFS.DiffIDs), len(config.History), n)
		}
		for i, name := range test.names {
			if got, want := config.History[i].CreatedBy, "/bin/sh -c #(nop) osbuild input '"+name+"'"; got != want {
				t.Errorf("history says that layer %d is %s, want %s", i, got, want)
			}
			raw := gunzip(t, files["blobs/sha256/"+manifest.Layers[i].Digest.Encoded()])
			if digest.FromBytes(raw) != config.RootFS.DiffIDs[i] || !bytes.Contains(raw, []byte(name+"\x00")) {
				t.Errorf("layer %d is not %s, or its diff id is wrong", i, name)
			}
		}
	}
}

func gunzip(t *testing.T, b []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	if !z.ModTime.IsZero() || z.Name != "" || z.OS != 255 {
		t.Errorf("the gzip header says when, what or where: %+v", z.Header)
	}
	return raw
}

func TestTwoRunsGiveTheSameBytes(t *testing.T) {
	inputs := directories(t, "base", "layer.1")
	var first []byte
	for i, compression := range []string{"gzip", "gzip", "zstd", "none"} {
		tree := t.TempDir()
		if code, log := call(t, tree, inputs, `{"filename": "f", "architecture": "a", "compression": "`+compression+`"}`, epoch); code != 0 {
			t.Fatalf("status %d: %s", code, log)
		}
		raw, err := os.ReadFile(filepath.Join(tree, "f"))
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			first = raw
		} else if bytes.Equal(raw, first) != (compression == "gzip") {
			t.Errorf("run %d, %s: same bytes is %v", i, compression, compression != "gzip")
		}
	}
}

func TestTimesInAnArchive(t *testing.T) {
	before := time.Now().Truncate(time.Second)
	for _, test := range []struct {
		meta        string
		first, last time.Time
	}{
		{epoch, time.Unix(1_700_000_000, 0), time.Unix(1_700_000_000, 0)},
		{`{"source-epoch": 0}`, time.Unix(0, 0), time.Unix(0, 0)},
		{`{}`, before, before.Add(time.Hour)},
	} {
		tree := t.TempDir()
		if code, log := call(t, tree, directories(t, "base"), `{"filename": "f", "architecture": "a"}`, test.meta); code != 0 {
			t.Fatalf("status %d: %s", code, log)
		}
		f, err := os.Open(filepath.Join(tree, "f"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		_, manifest, config := read(t, f.Name())
		times := []time.Time{*config.Created, *config.History[0].Created}
		for tr := tar.NewReader(f); ; {
			hdr, err := tr.Next()
			if err != nil {
				break
			}
			times = append(times, hdr.ModTime)
			if strings.HasSuffix(hdr.Name, manifest.Layers[0].Digest.Encoded()) {
				raw, _ := io.ReadAll(tr)
				layer := tar.NewReader(bytes.NewReader(gunzip(t, raw)))
				for hdr, err := layer.Next(); err == nil; hdr, err = layer.Next() {
					times = append(times, hdr.ModTime.Truncate(time.Second))
				}
			}
		}
		if len(times) != 11 { // two documents, seven outer entries and two inner ones
			t.Errorf("%s: there are %d times", test.meta, len(times))
		}
		for i, got := range times {
			if got.Before(test.first) || got.After(test.last) {
				t.Errorf("%s: time %d is %s, want %s to %s", test.meta, i, got, test.first, test.last)
			}
		}
	}
}

func TestTheLogTellsOfEachLayerAndTheImage(t *testing.T) {
	tree := t.TempDir()
	code, log := call(t, tree, directories(t, "base"), `{"filename": "f", "architecture": "x86_64"}`, epoch)
	if code != 0 {
		t.Fatalf("status %d, log %q", code, log)
	}
	files, manifest, _ := read(t, filepath.Join(tree, "f"))
	layers, last, _ := strings.Cut(log, "\n")
	if !strings.HasPrefix(layers, "layer 1/1 base: 2 entries, 2.") || !strings.HasSuffix(layers, " s") {
		t.Errorf("log %q", log)
	}
	var index v1.Index
	if err := json.Unmarshal(files["index.json"], &index); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("f: image %s, manifest %s, linux/amd64, 1 layer, %s\n", manifest.Config.Digest, index.Manifests[0].Digest, progress.Bytes(manifest.Layers[0].Size))
	if last != want {
		t.Errorf("the last line is %q, want %q", last, want)
	}
}
