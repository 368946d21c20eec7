package skopeo

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"osbuild-containers/internal/ocilayout"
	"osbuild-containers/test/images"
	"osbuild-containers/test/inputs"
	"osbuild-containers/test/store"
)

// TestDirIsTheInput copies a directory to an identical one.
func TestDirIsTheInput(t *testing.T) {
	img := small(1)
	a := inputs.New(t)
	in := a.Dir(t, "localhost/x", img, "signature one", "signature two")
	a.Options, a.Epoch = to(toDir, "/some/where"), epoch
	succeed(t, a)
	got := filepath.Join(a.Tree, "some/where")
	for _, dir := range []string{in, got} {
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 8 {
			t.Errorf("%s: %d files, %v", dir, len(entries), err)
		}
		for _, e := range entries {
			if !bytes.Equal(read(t, filepath.Join(in, e.Name())), read(t, filepath.Join(got, e.Name()))) {
				t.Errorf("%s differs", e.Name())
			}
		}
	}
	// Again, with other content: the previous content is gone.
	other := small(2)
	b := inputs.New(t)
	b.Dir(t, "localhost/x", other)
	b.Tree, b.Options = a.Tree, a.Options
	succeed(t, b)
	if _, err := os.Stat(filepath.Join(got, img.ID.Encoded())); !os.IsNotExist(err) {
		t.Errorf("the first image is still there: %v", err)
	}
	if _, err := os.Stat(filepath.Join(got, "signature-1")); !os.IsNotExist(err) {
		t.Errorf("the first image's signature is still there: %v", err)
	}
}

func TestRemovedSignatures(t *testing.T) {
	for _, kind := range []string{toDir, toOCI, toArchive} {
		a := inputs.New(t)
		a.Dir(t, "localhost/x", small(1), "signature")
		a.Options = to(kind, "/x")
		code, log := call(t, a)
		if kind != toDir && (code != 1 || !strings.Contains(log, `image "localhost/x" is signed, and an OCI `) || !strings.Contains(log, "set remove-signatures to leave them behind")) {
			t.Errorf("%s: exit status %d: %s", kind, code, log)
		}
		a.Tree = t.TempDir()
		a.Options.(map[string]any)["remove-signatures"] = true
		succeed(t, a)
		if _, err := os.Stat(filepath.Join(a.Tree, "x/signature-1")); err == nil {
			t.Errorf("%s: has a signature", kind)
		}
	}
}

// TestArchiveIsALayoutThatDependsOnTheImageOnly compares archives of one image from a directory, an archive and a storage.
func TestArchiveIsALayoutThatDependsOnTheImageOnly(t *testing.T) {
	img := small(1)
	var first []byte
	for _, from := range []string{"dir", "archive", "dir again"} {
		a := inputs.New(t)
		a.Options, a.Epoch = to(toArchive, "/a/image.tar"), epoch
		if strings.HasPrefix(from, "dir") {
			a.Dir(t, "localhost/x", img)
		} else {
			a.Archive(t, "localhost/x", img)
		}
		succeed(t, a)
		path := filepath.Join(a.Tree, "a/image.tar")
		got := read(t, path)
		if first == nil {
			first = got
		}
		if !bytes.Equal(got, first) {
			t.Errorf("from %s: another archive", from)
		}
		opened, err := ocilayout.OpenArchive(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(opened.Raw(), img.Raw) {
			t.Errorf("from %s: another manifest", from)
		}
		opened.Close()
	}
	var names []string
	r := tar.NewReader(bytes.NewReader(first))
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
		if h.ModTime.Unix() != epoch || h.Uid != 0 || h.Uname != "" {
			t.Errorf("%s: time %v, owner %d %s", h.Name, h.ModTime, h.Uid, h.Uname)
		}
	}
	if len(names) != 4+1+1+3 || names[0] != "oci-layout" || names[1] != "index.json" {
		t.Errorf("entries %v", names)
	}
}

// TestDirectoriesAreReproducible checks that the output depends on neither the run nor metadata of the input's files.
func TestDirectoriesAreReproducible(t *testing.T) {
	for _, kind := range []string{toDir, toOCI, toArchive} {
		for _, from := range []string{"dir", "archive"} {
			a := inputs.New(t)
			if from == "dir" {
				a.Dir(t, "localhost/x", small(1), "signature")
			} else {
				a.Archive(t, "localhost/x", small(1))
			}
			a.Options, a.Epoch = to(kind, "/deep/er"), epoch
			a.Options.(map[string]any)["remove-signatures"] = kind != toDir
			var first string
			for range 2 {
				a.Tree = t.TempDir()
				succeed(t, a)
				got := listing(t, a.Tree)
				if first == "" {
					first = got
				}
				if got != first {
					t.Errorf("%s from %s: got\n%s\nand\n%s", kind, from, first, got)
				}
			}
			if times := strings.Count(first, " 2023-11-14 22:13:20 "); times != strings.Count(first, "\n")+1 {
				t.Errorf("%s: there are other times than the epoch in\n%s", kind, first)
			}
		}
	}
}

func TestSeveralImagesInOneLayout(t *testing.T) {
	one := small(1)
	two := images.New(images.Seed(2), images.Use(one.Layers...), images.Layer(50))
	a := inputs.New(t)
	a.Dir(t, "localhost/one:v1", one)
	a.Dir(t, "localhost/two:v2", two)
	a.Options = to(toOCI, "/layout")
	succeed(t, a)
	index := func() map[string]string {
		t.Helper()
		var i struct {
			Manifests []struct {
				Digest      string
				Annotations map[string]string
			}
		}
		if err := json.Unmarshal(read(t, filepath.Join(a.Tree, "layout/index.json")), &i); err != nil {
			t.Fatal(err)
		}
		names := map[string]string{}
		for _, m := range i.Manifests {
			names[m.Annotations["org.opencontainers.image.ref.name"]] = m.Digest
		}
		if len(names) != len(i.Manifests) {
			t.Errorf("%d names for %d images", len(names), len(i.Manifests))
		}
		return names
	}
	if got := index(); len(got) != 2 || got["localhost/one:v1"] != one.Digest.String() || got["localhost/two:v2"] != two.Digest.String() {
		t.Errorf("index %v", got)
	}
	// A third image is added; adding it again changes nothing.
	three := small(3)
	for range 2 {
		b := inputs.New(t)
		b.Dir(t, "localhost/three:v3", three)
		b.Tree, b.Options = a.Tree, a.Options
		succeed(t, b)
		if got := index(); len(got) != 3 || got[""] != three.Digest.String() {
			t.Errorf("index %v", got)
		}
	}
}

// TestDockerInOCI checks that Docker images get OCI's media types and keep config and layers.
func TestDockerInOCI(t *testing.T) {
	img := small(1, images.Docker(), images.Edit(func(m map[string]any) {
		m["layers"].([]any)[1].(map[string]any)["mediaType"] = "application/vnd.oci.image.layer.v1.tar+gzip"
	}))
	a := inputs.New(t)
	a.Dir(t, "localhost/x", img)
	a.Options = to(toArchive, "/x.tar")
	succeed(t, a)
	got, err := ocilayout.OpenArchive(filepath.Join(a.Tree, "x.tar"))
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	m := got.Manifest()
	if m.Config.Digest != img.ID || m.Config.MediaType != images.OCIConfig {
		t.Errorf("config %+v, want the id %s", m.Config, img.ID)
	}
	for i, l := range m.Layers {
		if l.Digest != img.Layers[i].Digest || l.MediaType != "application/vnd.oci.image.layer.v1.tar+gzip" {
			t.Errorf("layer %d: %+v", i, l)
		}
	}
}

// TestLayersWithoutOCIMediaType checks that such layers are an error that names them.
func TestLayersWithoutOCIMediaType(t *testing.T) {
	img := small(1, images.Docker(), images.Edit(func(m map[string]any) {
		m["layers"].([]any)[1].(map[string]any)["mediaType"] = "application/x-strange"
	}))
	a := inputs.New(t)
	a.Dir(t, "localhost/x", img)
	a.Options = to(toOCI, "/x")
	code, log := call(t, a)
	if want := `image "localhost/x": layer ` + img.Layers[1].Digest.String() + ` has the media type "application/x-strange", which OCI has no word for`; code != 1 || !strings.Contains(log, want) {
		t.Errorf("exit status %d: %s\nwant …%s…", code, log, want)
	}
}

// TestDamageIsFoundWhileCopying flips a bit of each blob. The tree contains nothing damaged, and keeps its previous content.
func TestDamageIsFoundWhileCopying(t *testing.T) {
	for _, kind := range []string{toArchive, toOCI, toDir, toStorage} {
		img := small(1)
		for _, l := range append(img.Layers, images.LayerInfo{Digest: img.ID, Blob: img.Config}) {
			for _, input := range []string{"dir", "archive"} {
				a := inputs.New(t)
				path := filepath.Join(a.Path(), img.ID.String(), l.Digest.Encoded())
				if input == "dir" {
					a.Dir(t, "localhost/x", img)
				} else {
					path = a.Archive(t, "localhost/x", img)
				}
				data := read(t, path)
				data[bytes.Index(data, l.Blob)+len(l.Blob)-6] ^= 1
				must(t, os.WriteFile(path, data, 0o600))
				a.Options = to(kind, "/x")
				if kind == toArchive {
					must(t, os.WriteFile(filepath.Join(a.Tree, "x"), []byte("before"), 0o600))
				}
				code, log := call(t, a)
				if code != 1 || !strings.Contains(log, " has digest ") || !strings.Contains(log, l.Digest.String()) {
					t.Errorf("%s from %s: exit status %d: %s", kind, input, code, log)
				}
				if kind == toArchive && string(read(t, filepath.Join(a.Tree, "x"))) != "before" {
					t.Errorf("%s from %s: the file that was there is gone", kind, input)
				}
				for _, name := range []string{"x/" + l.Digest.Encoded(), "x/blobs/sha256/" + l.Digest.Encoded()} {
					if _, err := os.Lstat(filepath.Join(a.Tree, name)); err == nil {
						t.Errorf("%s from %s: %s is there", kind, input, name)
					}
				}
			}
		}
	}
}

// TestDocumentsAreVerified changes a digit of a digest in each document of an image.
func TestDocumentsAreVerified(t *testing.T) {
	for _, kind := range []string{toArchive, toOCI, toDir, toStorage} {
		img := small(1)
		for name, path := range map[string]string{"manifest": "manifest.json", "list": ""} {
			a := inputs.New(t)
			a.Dir(t, "localhost/x", img)
			list := images.NewList(images.Of(img))
			a.List(t, list)
			file, want := filepath.Join(a.Path(), img.ID.String(), path), "name none of the images"
			if name == "list" {
				file, want = filepath.Join(a.Path(), list.Digest.String()), "digest mismatch: got "
			}
			data := read(t, file)
			data[len(data)-10] ^= 1
			must(t, os.WriteFile(file, data, 0o600))
			a.Options = to(kind, "/x")
			if code, log := call(t, a); code != 1 || !strings.Contains(log, want) {
				t.Errorf("%s: %s: exit status %d: %s", kind, name, code, log)
			}
		}
	}
}

func TestImageOfAStorage(t *testing.T) {
	for _, driver := range []string{"overlay", "vfs"} {
		t.Run(driver, func(t *testing.T) {
			img := small(1)
			s := store.New(t, driver)
			s.Add(t, "localhost/x:v1", img)
			a := inputs.New(t)
			a.Stored(t, "localhost/x:v1", s.Root, driver, img)
			a.Options = to(toArchive, "/x.tar")
			succeed(t, a)
			got, err := ocilayout.OpenArchive(filepath.Join(a.Tree, "x.tar"))
			if err != nil {
				t.Fatal(err)
			}
			defer got.Close()
			if got.Manifest().Config.Digest != img.ID {
				t.Errorf("another image: %s", got.Raw())
			}
			for i, l := range got.Manifest().Layers {
				if l.Digest != img.Layers[i].DiffID {
					t.Errorf("layer %d is %s, want the diff id %s", i, l.Digest, img.Layers[i].DiffID)
				}
			}
		})
	}
}
