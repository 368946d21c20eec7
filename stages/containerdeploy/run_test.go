package containerdeploy

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/module"
	"osbuild-containers/internal/process"
	"osbuild-containers/test/images"
)

// writeImage writes an image in dir: format.
func writeImage(t *testing.T, path string, img *images.Image) {
	t.Helper()
	files := map[string][]byte{"version": []byte("Directory Transport Version: 1.1\n"), "manifest.json": img.Raw, img.ID.Encoded(): img.Config}
	for _, l := range img.Layers {
		files[l.Digest.Encoded()] = l.Blob
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(path, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// call runs the stage like osbuild or a shell does.
func call(t *testing.T, args any) (status int, log string) {
	t.Helper()
	in, err := json.Marshal(args)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	status = module.Stage{Name: Stage.Name, Run: run}.Main(context.Background(), module.Env{Env: process.Env{Stdin: bytes.NewReader(in), Stdout: &out, Stderr: &out}, ArgumentsPath: filepath.Join(t.TempDir(), "none")})
	return status, out.String()
}

func TestStage(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files to others")
	}
	top := t.TempDir()
	img := images.New(images.Arch("s390x"), images.Edit(func(m map[string]any) {
		m["config"].(map[string]any)["mediaType"] = images.DockerConfig
	}),
		images.Files(images.File{Name: "usr/"}, images.File{Name: "usr/a", Data: []byte("old")}, images.File{Name: "usr/doc", Data: []byte("x")}),
		images.Files(images.File{Name: "usr/a", Data: []byte("new")}))
	writeImage(t, filepath.Join(top, img.ID.String()), img)
	arguments := func(options map[string]any, keys ...string) (map[string]any, string) {
		tree := t.TempDir()
		archives := map[string]any{}
		for _, k := range keys {
			archives[k] = map[string]any{"format": "dir", "name": "localhost/x:v1"}
		}
		return map[string]any{
			"tree": tree, "options": options, "meta": map[string]any{"source-epoch": 5},
			"inputs": map[string]any{"images": map[string]any{"path": top, "data": map[string]any{"archives": archives}}},
		}, tree
	}
	for name, c := range map[string]struct {
		options map[string]any
		want    string // usr/a
		doc     bool
		log     string
		layers  string
		entries string
	}{
		"all":        {nil, "new", true, "warning: the image is for s390x, this machine is ", "2 layers, the uppermost first", "4"},
		"mixed":      {nil, "new", true, `image "localhost/x:v1": ` + manifest.MixedNote, "2 layers, the uppermost first", "4"},
		"excluded":   {map[string]any{"exclude": []string{"usr/doc", "none"}}, "new", false, `warning: exclude "none" matched nothing`, "2 layers, the uppermost first", "4"},
		"last layer": {map[string]any{"last-layer": 1}, "old", true, "layer 1/1 sha256:", "1 layer", "3"},
	} {
		args, tree := arguments(c.options, img.ID.String())
		status, log := call(t, args)
		if status != 0 || !strings.Contains(log, c.log) {
			t.Errorf("%s: exit status %d, log %s", name, status, log)
		}
		lines := strings.Split(strings.TrimSpace(log), "\n")
		first := "deploy localhost/x:v1, image " + img.ID.String() + ", linux/s390x, " + c.layers
		if last := lines[len(lines)-1]; lines[0] != first || !strings.HasPrefix(last, c.entries+" entries, ") || !strings.HasSuffix(last, " s") {
			t.Errorf("%s: log %s\nwant it to begin with %s and to end with %s entries", name, log, first, c.entries)
		}
		if b, err := os.ReadFile(filepath.Join(tree, "usr/a")); err != nil || string(b) != c.want {
			t.Errorf("%s: usr/a has %q, want %q, error %v", name, b, c.want, err)
		}
		if _, err := os.Stat(filepath.Join(tree, "usr/doc")); (err == nil) != c.doc {
			t.Errorf("%s: usr/doc: %v", name, err)
		}
	}

	for text, c := range map[string]struct {
		options map[string]any
		keys    []string
		status  int
	}{
		"must be exactly one image, got 0":               {nil, nil, 2},
		"must be exactly one image, got 2":               {nil, []string{"a", "b"}, 2},
		"options.last-layer: the image has 2 layers":     {map[string]any{"last-layer": 3}, []string{img.ID.String()}, 2},
		`exclude "/": that is the whole tree`:            {map[string]any{"exclude": []string{"/"}}, []string{img.ID.String()}, 1},
		`"usr/a": uid 0 is in no range of the map`:       {map[string]any{"uid-map": [][]int{{1, 1, 1}}}, []string{img.ID.String()}, 1},
		`layer 2/2 ` + img.Layers[1].Digest.String():     {map[string]any{"uid-map": [][]int{{1, 1, 1}}}, []string{img.ID.String()}, 1},
		"options.ignore-owners: must not be given with ": {map[string]any{"ignore-owners": true, "gid-map": [][]int{{1, 1, 1}}}, []string{img.ID.String()}, 2},
		"components in a path: more than the limit of 1": {map[string]any{"limits": map[string]any{"depth": 1}}, []string{img.ID.String()}, 1},
	} {
		args, _ := arguments(c.options, c.keys...)
		if status, log := call(t, args); status != c.status || !strings.Contains(log, text) {
			t.Errorf("exit status %d, want %d, log %s\nwant %s", status, c.status, log, text)
		}
	}
}
