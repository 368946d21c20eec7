package request_test

import (
	"errors"
	"strings"
	"testing"

	"osbuild-containers/internal/request"
)

// TestArgumentsRefused pairs arguments with the complete error.
func TestArgumentsRefused(t *testing.T) {
	const start = `{"tree": "/t", "inputs": {"images": {"path": "/i"}}, `
	for name, c := range map[string]struct{ in, want string }{
		"no tree":       {`{"inputs": {"images": {"path": "/i"}}, "options": {"destination": {"type": "oci", "path": "/x"}}}`, `field "tree" is missing`},
		"relative tree": {`{"tree": "t", "inputs": {"images": {"path": "/i"}}, "options": {"destination": {"type": "oci", "path": "/x"}}}`, `tree: must be an absolute path, got "t"`},
		"tree a number": {`{"tree": 1, "inputs": {"images": {"path": "/i"}}, "options": {"destination": {"type": "oci", "path": "/x"}}}`, `tree: must be a string, got 1`},
		"no inputs":     {`{"tree": "/t", "options": {"destination": {"type": "oci", "path": "/x"}}}`, `inputs: field "images" is missing`},
		"other input":   {`{"tree": "/t", "inputs": {"images": {"path": "/i"}, "x": {}}, "options": {"destination": {"type": "oci", "path": "/x"}}}`, `inputs: unknown field "x"`},
		"relative path": {`{"tree": "/t", "inputs": {"images": {"path": "i"}}, "options": {"destination": {"type": "oci", "path": "/x"}}}`, `inputs.images.path: must be an absolute path, got "i"`},
		"no path":       {`{"tree": "/t", "inputs": {"images": {}}, "options": {"destination": {"type": "oci", "path": "/x"}}}`, `inputs.images: field "path" is missing`},
		"data a list":   {`{"tree": "/t", "inputs": {"images": {"path": "/i", "data": []}}, "options": {"destination": {"type": "oci", "path": "/x"}}}`, `inputs.images.data: must be an object, got a list`},
		"inputs a list": {`{"tree": "/t", "inputs": [], "options": {"destination": {"type": "oci", "path": "/x"}}}`, `inputs: must be an object, got a list`},

		"no options":        {start + `"options": null}`, `options: field "destination" is missing`},
		"unknown option":    {start + `"options": {"destination": {"type": "oci", "path": "/x"}, "destinatoin": 1}}`, `options: unknown field "destinatoin"`},
		"no type":           {start + `"options": {"destination": {"path": "/x"}}}`, `options.destination: field "type" is missing`},
		"unknown type":      {start + `"options": {"destination": {"type": "docker", "path": "/x"}}}`, `options.destination.type: must be "containers-storage" or "oci" or "oci-archive" or "dir", got "docker"`},
		"not an object":     {start + `"options": {"destination": "/x"}}`, `options.destination: must be an object, got "/x"`},
		"no path of oci":    {start + `"options": {"destination": {"type": "oci"}}}`, `options.destination: field "path" is missing`},
		"empty path":        {start + `"options": {"destination": {"type": "oci", "path": ""}}}`, `options.destination.path: is empty`},
		"path of a storage": {start + `"options": {"destination": {"type": "containers-storage", "path": "/x"}}}`, `options.destination: unknown field "path"`},
		"driver":            {start + `"options": {"destination": {"type": "containers-storage", "storage-driver": "btrfs"}}}`, `options.destination.storage-driver: must be "overlay" or "vfs", got "btrfs"`},
		"epoch":             {start + `"options": {"destination": {"type": "oci", "path": "/x"}}, "meta": {"source-epoch": "now"}}`, `meta.source-epoch: must be a whole number, got "now"`},
		"epoch with point":  {start + `"options": {"destination": {"type": "oci", "path": "/x"}}, "meta": {"source-epoch": 1.5}}`, `meta.source-epoch: must be a whole number, got 1.5`},
	} {
		_, err := request.DecodeArguments("org.osbuild.skopeo", []byte(c.in))
		if err == nil || err.Error() != c.want || !errors.As(err, new(*request.Error)) {
			t.Errorf("%s\ngot  %v\nwant %s", name, err, c.want)
		}
	}
	if _, err := request.DecodeArguments("org.osbuild.nothing", []byte(`{}`)); err == nil || errors.As(err, new(*request.Error)) {
		t.Errorf("a stage that does not exist: %v", err)
	}
}

func TestImagesOfAnInput(t *testing.T) {
	in := func(archives string) request.Input {
		t.Helper()
		a, err := request.DecodeArguments("org.osbuild.skopeo", []byte(`{"tree": "/t", "inputs": {"images": {"path": "/i", "data": `+archives+`}}, "options": {"destination": {"type": "containers-storage"}}}`))
		if err != nil {
			t.Fatal(err)
		}
		return a.Inputs["images"]
	}
	images, err := in(expand(`{"archives": {"x.tar": {"format": "oci-archive", "name": "n"}, "<A>": {"format": "containers-storage", "name": "s", "storage": {"driver": "vfs"}}}}`)).Images()
	if err != nil || len(images) != 2 {
		t.Fatalf("got %v, %v", images, err)
	}
	if want := (request.InputImage{Path: "/i/storage", Key: idA, Format: "containers-storage", Name: "s", Driver: "vfs"}); images[0] != want {
		t.Errorf("got %+v", images[0])
	}
	if want := (request.InputImage{Path: "/i/x.tar", Key: "x.tar", Format: "oci-archive", Name: "n"}); images[1] != want {
		t.Errorf("got %+v", images[1])
	}
	const at = "inputs.images.data"
	for _, c := range []struct{ data, want string }{
		{`{}`, at + `: field "archives" is missing`},
		{`{"archives": []}`, at + `.archives: must be an object, got a list`},
		{`{"archives": {"x": 1}}`, at + `.archives.x: must be an object, got 1`},
		{`{"archives": {"x": {"format": "dir"}}}`, at + `.archives.x: field "name" is missing`},
		{`{"archives": {"x": {"name": "n"}}}`, at + `.archives.x: field "format" is missing`},
		{`{"archives": {"x": {"name": 1, "format": "dir"}}}`, at + `.archives.x.name: must be a string, got 1`},
		{`{"archives": {"x": {"name": "n", "format": "docker"}}}`, at + `.archives.x.format: must be "dir" or "oci-archive" or "containers-storage", got "docker"`},
		{`{"archives": {"../x": {"name": "n", "format": "dir"}}}`, at + `.archives: a key must be the name of a file, got "../x"`},
		{`{"archives": {"..": {"name": "n", "format": "dir"}}}`, at + `.archives: a key must be the name of a file, got ".."`},
		{`{"archives": {"x": {"name": "n", "format": "containers-storage"}}}`, at + `.archives: a key must be sha256: and 64 lower-case hexadecimal digits, got "x"`},
	} {
		if _, err := in(c.data).Images(); err == nil || err.Error() != c.want {
			t.Errorf("%s\ngot  %v\nwant %s", c.data, err, c.want)
		}
	}
	files, err := in(`{"files": {"b/c": {}, "a": {}}}`).Files()
	if err != nil || len(files) != 2 || files[0].Path != "/i/a" || files[1].Path != "/i/b/c" {
		t.Errorf("got %v, %v", files, err)
	}
	if _, err := in(`{"files": {"../a": {}}}`).Files(); err == nil || !strings.Contains(err.Error(), `a key must be the path of a file below the input, got "../a"`) {
		t.Errorf("got %v", err)
	}
}
