package containerdeploy

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"osbuild-containers/test/images"
	"osbuild-containers/test/inputs"
	"osbuild-containers/test/store"
)

func TestMain(m *testing.M) { store.Main(m) }

// layerOf returns the only layer, uncompressed, of an archive.
func layerOf(t *testing.T, archive []byte) images.LayerInfo {
	t.Helper()
	files := map[string][]byte{}
	for tr := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if files[filepath.Base(h.Name)], err = io.ReadAll(tr); err != nil {
			t.Fatal(err)
		}
	}
	var index, manifest struct {
		Manifests, Layers []struct{ Digest digest.Digest }
	}
	if err := json.Unmarshal(files["index.json"], &index); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(files[index.Manifests[0].Digest.Encoded()], &manifest); err != nil {
		t.Fatal(err)
	}
	d := manifest.Layers[0].Digest
	blob := files[d.Encoded()]
	return images.LayerInfo{Digest: d, DiffID: d, Size: int64(len(blob)), Blob: blob, MediaType: "application/vnd.oci.image.layer.v1.tar"}
}

// state describes everything in a directory, to detect changes.
func state(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err == nil {
			b.WriteString(path + " " + info.Mode().String() + " " + info.ModTime().String() + "\n")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// readOnly returns a read-only mount of a directory.
func readOnly(t *testing.T, dir string) string {
	t.Helper()
	at := t.TempDir()
	if err := unix.Mount(dir, at, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(at, 0); err != nil {
			t.Error(err)
		}
	})
	if err := unix.Mount("", at, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	return at
}

// TestTheSameTreeFromEveryFormat deploys one image from a directory, an archive and read-only storages, and checks that these do
// not change.
func TestTheSameTreeFromEveryFormat(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files to others")
	}
	img := images.New(
		images.Use(layerOf(t, packed(t, tricky(t), "none"))),
		images.Files(images.File{Name: "bin/.wh.su"}, images.File{Name: "tmp/new", Data: []byte("new")}),
		images.LayerAs(images.Zstd, 300_000))
	sources := map[string]func(t *testing.T, a *inputs.Arguments) (path string){
		"dir":         func(t *testing.T, a *inputs.Arguments) string { return a.Dir(t, "localhost/x:v1", img) },
		"oci-archive": func(t *testing.T, a *inputs.Arguments) string { return a.Archive(t, "localhost/x:v1", img) },
	}
	for _, driver := range []string{"overlay", "vfs"} {
		sources[driver] = func(t *testing.T, a *inputs.Arguments) string {
			s := store.New(t, driver)
			s.Add(t, "localhost/x:v1", img)
			a.Stored(t, "localhost/x:v1", readOnly(t, s.Root), driver, img)
			return s.Root
		}
	}
	trees := map[string][]byte{}
	for name, source := range sources {
		t.Run(name, func(t *testing.T) {
			a := inputs.New(t)
			path := source(t, a)
			before := state(t, path)
			a.Options, a.Epoch = map[string]any{}, 5
			var args any
			if err := json.Unmarshal(a.JSON(t), &args); err != nil {
				t.Fatal(err)
			}
			if status, log := call(t, args); status != 0 {
				t.Fatalf("exit status %d, log %s", status, log)
			}
			if state(t, path) != before {
				t.Errorf("%s has changed", path)
			}
			if _, err := os.Lstat(filepath.Join(a.Tree, "bin/su")); !os.IsNotExist(err) {
				t.Errorf("bin/su is there: %v", err)
			}
			trees[name] = packed(t, a.Tree, "none")
		})
	}
	for name, tree := range trees {
		if !bytes.Equal(tree, trees["dir"]) {
			t.Errorf("the tree from %s is not that from dir", name)
		}
	}
}

// TestSparseFilesOfAStorage deploys files in GNU tar's sparse formats from storages, which do not keep a readable archive of such
// files.
func TestSparseFilesOfAStorage(t *testing.T) {
	for _, version := range []string{"0.0", "0.1", "1.0"} { // the library cannot unpack the old format
		archive, err := os.ReadFile(filepath.Join("../../internal/deploy/testdata", "sparse-"+version+".tar"))
		if err != nil {
			t.Fatal(err)
		}
		d := digest.FromBytes(archive)
		img := images.New(images.Use(images.LayerInfo{Digest: d, DiffID: d, Size: int64(len(archive)), Blob: archive, MediaType: "application/vnd.oci.image.layer.v1.tar"}))
		for _, driver := range []string{"overlay", "vfs"} {
			t.Run(version+" "+driver, func(t *testing.T) {
				s := store.New(t, driver)
				s.Add(t, "localhost/x:v1", img)
				a := inputs.New(t)
				a.Stored(t, "localhost/x:v1", s.Root, driver, img)
				a.Options = map[string]any{}
				status, log := call(t, json.RawMessage(a.JSON(t)))
				if note := strings.Contains(log, `(map of the sparse file "holes")`); status != 0 || note != (version == "1.0") {
					t.Fatalf("exit status %d, log %s", status, log)
				}
				want := make([]byte, 900000)
				copy(want[400000:], "middle")
				copy(want[899997:], "end")
				if got, err := os.ReadFile(filepath.Join(a.Tree, "holes")); err != nil || !bytes.Equal(got, want) {
					t.Errorf("%d bytes that are not those that went in, %v", len(got), err)
				}
				// Damage is detected, whether or not the digest can be verified.
				path, err := filepath.Glob(filepath.Join(s.Root, driver, "*", "*", "holes"))
				if err != nil || len(path) == 0 {
					t.Fatal(path, err)
				}
				if err := os.WriteFile(path[0], append([]byte("x"), want[1:]...), 0o600); err != nil {
					t.Fatal(err)
				}
				a.Tree = t.TempDir()
				if status, log := call(t, json.RawMessage(a.JSON(t))); status != 1 || !strings.Contains(log, "holes") {
					t.Errorf("damaged: exit status %d, log %s", status, log)
				}
			})
		}
	}
}
