package skopeo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"testing"

	"osbuild-containers/internal/module"
	"osbuild-containers/internal/process"
	"osbuild-containers/test/calls"
	"osbuild-containers/test/images"
	"osbuild-containers/test/inputs"
	"osbuild-containers/test/store"
)

const epoch = 1_700_000_000

func TestMain(m *testing.M) {
	calls.Main()
	store.Main(m)
}

type object map[string]any

func to(kind, path string) map[string]any {
	if kind == toStorage {
		return object{"destination": object{"type": kind, "storage-path": path, "storage-driver": "vfs"}}
	}
	return object{"destination": object{"type": kind, "path": path}}
}

// call runs the stage like osbuild or a shell does.
func call(t *testing.T, a *inputs.Arguments) (code int, log string) {
	t.Helper()
	var out bytes.Buffer
	none := filepath.Join(t.TempDir(), "none")
	code = module.Stage{Name: "org.osbuild.skopeo", Run: run}.Main(context.Background(), module.Env{
		Env:           process.Env{Stdin: bytes.NewReader(a.JSON(t)), Stdout: &out, Stderr: &out},
		ArgumentsPath: none, APISocket: none,
	})
	return code, out.String()
}

func succeed(t *testing.T, a *inputs.Arguments) {
	t.Helper()
	if code, log := call(t, a); code != 0 {
		t.Fatalf("exit status %d: %s", code, log)
	}
}

// listing describes everything below a directory: names, modes, owners, times, contents.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var lines []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		what := ""
		switch {
		case info.Mode().IsRegular():
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			what = fmt.Sprintf("%x", sha256.Sum256(data))
		case info.Mode()&os.ModeSymlink != 0:
			what, _ = os.Readlink(path)
		}
		rel, _ := filepath.Rel(dir, path)
		lines = append(lines, fmt.Sprintf("%s %v %d:%d %s %s", rel, info.Mode(), st.Uid, st.Gid, info.ModTime().UTC(), what))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// flip flips a bit near the end of a file.
func flip(t *testing.T, path string) {
	t.Helper()
	data := read(t, path)
	data[len(data)-6] ^= 1
	must(t, os.WriteFile(path, data, 0o600))
}

// record is the entry of an image in images.json.
type record struct {
	ID       string
	Digest   string
	Names    []string
	Metadata string
	BigData  []string `json:"big-data-names"`
}

func records(t *testing.T, root, driver string) map[string]record {
	t.Helper()
	var list []record
	if err := json.Unmarshal(read(t, filepath.Join(root, driver+"-images", "images.json")), &list); err != nil {
		t.Fatal(err)
	}
	byName := map[string]record{}
	for _, r := range list {
		for _, n := range r.Names {
			byName[n] = r
		}
	}
	return byName
}

// small returns an image with what is difficult for storages: an unlisted directory, a replaced one, and a layer without the root.
func small(seed uint64, opts ...images.Option) *images.Image {
	return images.New(append([]images.Option{
		images.Seed(seed), images.Layer(3000),
		images.Files(images.File{Name: "etc/deep/er/file", Data: []byte("x")}, images.File{Name: "usr/"}, images.File{Name: "link", Link: "/etc"}),
		images.Files(images.File{Name: "usr/a", Data: []byte{byte(seed)}}),
	}, opts...)...)
}
