// Package inputs writes images in the forms in which a stage gets them: as a directory in dir: format, as an OCI archive, and in
// the arguments.
//
//	a := inputs.New(t)
//	a.Dir("localhost/name:v1", img)
//	a.List(list)
//	a.Options = map[string]any{"destination": map[string]any{"type": "oci", "path": "/x"}}
//	stdin := a.JSON(t)
package inputs

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"osbuild-containers/test/images"
)

// Arguments are the arguments of a stage, and the directories they name.
type Arguments struct {
	Tree    string // an empty directory of the test
	Epoch   int64  // 0: none
	Options any

	path     string
	archives map[string]any
	lists    map[string]any
}

// New returns arguments without any image.
func New(t testing.TB) *Arguments {
	t.Helper()
	return &Arguments{Tree: t.TempDir(), path: t.TempDir(), archives: map[string]any{}}
}

// In is New in an existing directory.
func In(t testing.TB, dir string) *Arguments {
	t.Helper()
	a := &Arguments{Tree: filepath.Join(dir, "tree"), path: filepath.Join(dir, "in"), archives: map[string]any{}}
	for _, d := range []string{a.Tree, a.path} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return a
}

// Path returns the directory of the images.
func (a *Arguments) Path() string { return a.path }

// Dir adds an image as published by the sources, with its signatures, and returns its path.
func (a *Arguments) Dir(t testing.TB, name string, img *images.Image, signatures ...string) string {
	t.Helper()
	dir := filepath.Join(a.path, img.ID.String())
	WriteDir(t, dir, img, signatures...)
	a.archives[img.ID.String()] = map[string]any{"format": "dir", "name": name}
	return dir
}

// Archive adds an OCI archive of the images and returns its path. Stages accept archives of one image only.
func (a *Arguments) Archive(t testing.TB, name string, imgs ...*images.Image) string {
	t.Helper()
	file := fmt.Sprintf("image-%d.tar", len(a.archives))
	path := filepath.Join(a.path, file)
	if err := os.WriteFile(path, Archive(imgs...), 0o644); err != nil {
		t.Fatal(err)
	}
	a.archives[file] = map[string]any{"format": "oci-archive", "name": name}
	return path
}

// Stored adds the image of the containers storage at root.
func (a *Arguments) Stored(t testing.TB, name, root, driver string, img *images.Image) {
	t.Helper()
	if err := os.Symlink(root, filepath.Join(a.path, "storage")); err != nil && !os.IsExist(err) {
		t.Fatal(err)
	}
	a.archives[img.ID.String()] = map[string]any{"format": "containers-storage", "name": name, "storage": map[string]any{"driver": driver}}
}

// List adds a manifest list.
func (a *Arguments) List(t testing.TB, l *images.List) {
	t.Helper()
	if a.lists == nil {
		a.lists = map[string]any{}
	}
	a.lists[l.Digest.String()] = map[string]any{}
	if err := os.WriteFile(filepath.Join(a.path, l.Digest.String()), l.Raw, 0o644); err != nil {
		t.Fatal(err)
	}
}

// JSON returns the arguments in JSON.
func (a *Arguments) JSON(t testing.TB) []byte {
	t.Helper()
	in := map[string]any{"images": map[string]any{"path": a.path, "data": map[string]any{"archives": a.archives}}}
	if a.lists != nil {
		in["manifest-lists"] = map[string]any{"path": a.path, "data": map[string]any{"files": a.lists}}
	}
	meta := map[string]any{"id": "0"}
	if a.Epoch != 0 {
		meta["source-epoch"] = a.Epoch
	}
	raw, err := json.Marshal(map[string]any{"tree": a.Tree, "inputs": in, "options": a.Options, "meta": meta, "paths": map[string]any{}})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// WriteDir writes an image in dir: format.
func WriteDir(t testing.TB, dir string, img *images.Image, signatures ...string) {
	t.Helper()
	files := map[string][]byte{
		"version":        []byte("Directory Transport Version: 1.1\n"),
		"manifest.json":  img.Raw,
		img.ID.Encoded(): img.Config,
	}
	for _, l := range img.Layers {
		files[l.Digest.Encoded()] = l.Blob
	}
	for i, s := range signatures {
		files[fmt.Sprintf("signature-%d", i+1)] = []byte(s)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// Archive returns an OCI archive of the images, named by their indexes.
func Archive(imgs ...*images.Image) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	seen := map[string]bool{}
	add := func(name string, data []byte) {
		if seen[name] {
			return
		}
		seen[name] = true
		if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(data))}); err != nil {
			panic(err) // writing to memory never fails
		}
		if _, err := w.Write(data); err != nil {
			panic(err)
		}
	}
	var entries []any
	for i, img := range imgs {
		entries = append(entries, map[string]any{
			"mediaType": img.MediaType, "digest": img.Digest, "size": len(img.Raw),
			"annotations": map[string]string{"org.opencontainers.image.ref.name": fmt.Sprintf("number-%d", i)},
		})
		add("blobs/sha256/"+img.Digest.Encoded(), img.Raw)
		add("blobs/sha256/"+img.ID.Encoded(), img.Config)
		for _, l := range img.Layers {
			add("./blobs/sha256/"+l.Digest.Encoded(), l.Blob)
		}
	}
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": entries})
	if err != nil {
		panic(err)
	}
	add("index.json", index)
	add("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}
