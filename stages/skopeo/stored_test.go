package skopeo

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/test/images"
	"osbuild-containers/test/inputs"
	"osbuild-containers/test/store"
)

func TestStoragePath(t *testing.T) {
	drivers(t, func(t *testing.T, driver string) {
		a := inputs.New(t)
		a.Dir(t, "localhost/x:v1", small(1))
		a.Options = object{"destination": object{"type": toStorage, "storage-driver": driver, "storage-path": "/usr/share/images"}}
		succeed(t, a)
		if got := records(t, filepath.Join(a.Tree, "usr/share/images"), driver); len(got) != 1 {
			t.Errorf("images %v", got)
		}
		for name, mode := range map[string]os.FileMode{"usr": 0o755, "usr/share": 0o755, "usr/share/images": 0o700} {
			if info, err := os.Stat(filepath.Join(a.Tree, name)); err != nil || info.Mode().Perm() != mode {
				t.Errorf("%s: %v, %v", name, info.Mode(), err)
			}
		}
		if _, err := os.Stat(filepath.Join(a.Tree, "var")); err == nil {
			t.Error("there is something at the usual place, too")
		}
	})
}

func TestSignaturesInAStorage(t *testing.T) {
	for _, remove := range []bool{false, true} {
		img := small(1)
		a := inputs.New(t)
		a.Dir(t, "localhost/x:v1", img, "one", "another")
		a.Options = storageOptions("vfs")
		a.Options.(map[string]any)["remove-signatures"] = remove
		succeed(t, a)
		got := records(t, rootOf(a), "vfs")["localhost/x:v1"]
		key := "signature-" + img.Digest.Encoded()
		if slices.Contains(got.BigData, key) == remove || strings.Contains(got.Metadata, "[3,7]") == remove {
			t.Errorf("remove: %v, got %+v", remove, got)
		}
		files, err := filepath.Glob(filepath.Join(rootOf(a), "vfs-images/*/*"))
		if err != nil {
			t.Fatal(err)
		}
		kept := slices.ContainsFunc(files, func(f string) bool { return bytes.Equal(read(t, f), []byte("oneanother")) })
		if kept == remove {
			t.Errorf("remove: %v, kept: %v", remove, kept)
		}
	}
}

// TestFromStorageToStorage checks that the original manifest digest, and the list that names it, are kept.
func TestFromStorageToStorage(t *testing.T) {
	drivers(t, func(t *testing.T, driver string) {
		img := small(1)
		list := images.NewList(images.Of(img))
		s := store.New(t, driver)
		s.Add(t, "localhost/x:v1", img)
		for _, want := range []string{img.Digest.String(), list.Digest.String()} {
			a := inputs.New(t)
			a.Stored(t, "localhost/y:v1", s.Root, driver, img)
			if want == list.Digest.String() {
				a.List(t, list)
			}
			a.Options = storageOptions(driver)
			succeed(t, a)
			got := records(t, rootOf(a), driver)["localhost/y:v1"]
			if got.ID != img.ID.Encoded() || got.Digest != want || !slices.Contains(got.BigData, "manifest-"+img.Digest.String()) {
				t.Errorf("got %+v, want the digest %s", got, want)
			}
		}
	})
}

// TestFailureLeavesNothing has a layer damaged at its end.
func TestFailureLeavesNothing(t *testing.T) {
	drivers(t, func(t *testing.T, driver string) {
		img := small(1)
		a := inputs.New(t)
		dir := a.Dir(t, "localhost/x:v1", img)
		layer := filepath.Join(dir, img.Layers[2].Digest.Encoded())
		data := read(t, layer)
		data[len(data)-6] ^= 1
		if err := os.WriteFile(layer, data, 0o600); err != nil {
			t.Fatal(err)
		}
		a.Options = storageOptions(driver)
		if code, log := call(t, a); code != 1 || !strings.Contains(log, `image "localhost/x:v1": layer 3/3 `) || !strings.Contains(log, " has digest ") {
			t.Errorf("exit status %d: %s", code, log)
		}
		nothingLeft(t, a.Tree)
		if got, _ := filepath.Glob(filepath.Join(rootOf(a), driver+"-images", "*")); len(got) != 1 { // an empty lock file
			t.Errorf("images: %v", got)
		}
	})
}

// nothingLeft fails the test on mounts, devices and incompletely unpacked layers.
func nothingLeft(t *testing.T, tree string) {
	t.Helper()
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), tree) {
		t.Errorf("something is mounted in the tree: %v", err)
	}
	for line := range strings.Lines(listing(t, tree)) {
		for _, name := range []string{"staging/", "backingFsBlockDev", "tempdirs/", " D", " d-c"} {
			if strings.Contains(line, name) {
				t.Errorf("there is %q: %s", name, line)
			}
		}
	}
}

// TestInvalidStorageIsRefused has trees with files that the library would follow outside, and checks that these are untouched.
func TestInvalidStorageIsRefused(t *testing.T) {
	drivers(t, func(t *testing.T, driver string) {
		for name, c := range map[string]struct{ path, link, content, want string }{
			"lock":      {path: "-images/images.lock", link: "victim", want: "is neither a file nor a directory, which a storage does not contain"},
			"new":       {path: "-layers/layers.lock", link: "new", want: "is neither a file nor a directory"},
			"directory": {path: "-images", link: "", want: "is neither a file nor a directory"},
			"deep":      {path: "/deep/link", link: "victim", want: "is neither a file nor a directory"},
			"records":   {path: "-layers/layers.json", content: `[{"id": "../../../../../outside", "flags": {"incomplete": true}}]`, want: `layers.json in it is damaged: invalid id "../../../../../outside"`},
			"parents":   {path: "-layers/layers.json", content: `[{"id": "a", "parent": ".."}]`, want: `invalid id ".."`},
			"text":      {path: "-images/images.json", content: `hello`, want: `images.json in it is damaged: `},
		} {
			a := inputs.New(t)
			a.Dir(t, "localhost/x:v1", small(1))
			a.Options = storageOptions(driver)
			outside := filepath.Join(filepath.Dir(a.Tree), "outside")
			must(t, os.MkdirAll(outside, 0o755))
			must(t, os.WriteFile(filepath.Join(outside, "victim"), []byte("as it was"), 0o600))
			before := listing(t, outside)
			path := filepath.Join(rootOf(a), driver+c.path)
			must(t, os.MkdirAll(filepath.Dir(path), 0o755))
			if c.content != "" {
				must(t, os.WriteFile(path, []byte(c.content), 0o600))
			} else {
				must(t, os.Symlink(filepath.Join(outside, c.link), path))
			}
			code, log := call(t, a)
			if code != 1 || !strings.Contains(log, c.want) {
				t.Errorf("%s: exit status %d: %s", name, code, log)
			}
			if got := listing(t, outside); got != before {
				t.Errorf("%s: outside of the tree there is\n%s", name, got)
			}
			must(t, os.RemoveAll(outside))
		}
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestMissingCreationTimes has configs without a valid time, as various tools write them: the image then has the epoch, in every run.
func TestMissingCreationTimes(t *testing.T) {
	for name, created := range map[string]string{
		"absent": "", "null": `"created": null,`, "empty": `"created": "",`, "zero": `"created": "0001-01-01T00:00:00Z",`,
		"zero elsewhere": `"created": "0001-01-01T02:00:00+02:00",`, "none": `"created": 5,`,
	} {
		config := `{` + created + `"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": []}}`
		a := inputs.New(t)
		a.Dir(t, "localhost/x:v1", images.New(images.ConfigBytes([]byte(config))))
		a.Options, a.Epoch = storageOptions("vfs"), epoch
		code, log := call(t, a)
		if code != 0 {
			if created != `"created": "",` && created != `"created": 5,` { // not readable by podman
				t.Errorf("%s: exit status %d: %s", name, code, log)
			}
			continue
		}
		if got := string(read(t, filepath.Join(rootOf(a), "vfs-images/images.json"))); !strings.Contains(got, `"created":"2023-11-14T22:13:20Z"`) {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// TestSparseFilesOfAStorage copies layers with files in GNU tar's sparse formats from storages. The library loses part of the
// archive for format 1.0; this stage does not.
func TestSparseFilesOfAStorage(t *testing.T) {
	for _, version := range []string{"0.1", "1.0"} { // the library cannot unpack the old format
		archive := read(t, filepath.Join("../../internal/deploy/testdata", "sparse-"+version+".tar"))
		d := digest.FromBytes(archive)
		img := images.New(images.Use(images.LayerInfo{Digest: d, DiffID: d, Size: int64(len(archive)), Blob: archive, MediaType: "application/vnd.oci.image.layer.v1.tar"}))
		drivers(t, func(t *testing.T, driver string) {
			s := store.New(t, driver)
			s.Add(t, "localhost/x:v1", img)
			into := inputs.New(t)
			into.Dir(t, "localhost/x:v1", img)
			into.Options = storageOptions(driver)
			succeed(t, into)
			for of, root := range map[string]string{"the library's": s.Root, "ours": rootOf(into)} {
				lost := version == "1.0" && (of != "ours" || driver == "vfs")
				for _, kind := range []string{toDir, toOCI, toStorage} {
					a := inputs.New(t)
					a.Stored(t, "localhost/y:v1", root, driver, img)
					a.Options = to(kind, "/out")
					code, log := call(t, a)
					if lost != (code == 1 && strings.Contains(log, `"holes" in it has GNU tar's sparse format 1.0`)) || !lost && code != 0 {
						t.Errorf("%s, %s to %s: exit status %d: %s", version, of, kind, code, log)
					}
				}
			}
		})
	}
}
