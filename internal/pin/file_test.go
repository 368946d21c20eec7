package pin

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

func sum(text string) digest.Digest { return digest.FromString(text) }

// example returns a file that uses every field.
func example() *File {
	when := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
	return &File{Version: 1, Images: []Image{
		{
			Reference: "docker.io/library/name:v1", Platform: "linux/amd64", List: sum("list"), Manifest: sum("amd"), ID: sum("amd id"),
			Layers: []Layer{{sum("a"), 1 << 40}, {sum("b"), 0}}, Base: &Base{"docker.io/library/base:<1>", sum("base")}, Resolved: when, From: "mirror.example/name",
		},
		{
			Reference: "docker.io/library/name:v1", Platform: "linux/arm/v7", List: sum("list"), Manifest: sum("arm"), ID: sum("arm id"),
			Layers: []Layer{}, Resolved: when,
		},
		{
			Reference: "localhost/name:v1", Transport: "containers-storage", StorageLocation: "/var/lib/x", Platform: "any",
			Manifest: sum("stored"), ID: sum("stored id"), Layers: []Layer{{sum("a"), 7}}, Resolved: when,
		},
		{
			Reference: "registry.example/name@" + sum("fixed").String(), Platform: "linux/amd64",
			Manifest: sum("fixed"), ID: sum("fixed id"), Layers: []Layer{}, Resolved: when,
		},
	}}
}

// TestFileRoundTrip checks that a written file is read back, with the same bytes each time.
func TestFileRoundTrip(t *testing.T) {
	path := filepath.Join(t.TempDir(), FileName)
	if err := example().Write(path); err != nil {
		t.Fatal(err)
	}
	got, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(got.Encode()) != string(example().Encode()) {
		t.Errorf("got\n%s\nwant\n%s", got.Encode(), example().Encode())
	}
	empty := &File{Version: 1}
	if got, err := Parse(empty.Encode()); err != nil || len(got.Images) != 0 || string(got.Encode()) != "{\n  \"version\": 1,\n  \"images\": []\n}\n" {
		t.Errorf("an empty file: %+v, %v", got, err)
	}
}

// TestFileReadsWell checks that changing an image changes only its block.
func TestFileReadsWell(t *testing.T) {
	f := example()
	before := strings.Split(string(f.Encode()), "\n")
	f.Images[1].Manifest = sum("other")
	after := strings.Split(string(f.Encode()), "\n")
	if len(before) != len(after) {
		t.Fatalf("%d lines became %d", len(before), len(after))
	}
	changed := 0
	for n := range before {
		if before[n] != after[n] {
			changed++
		}
	}
	if changed != 1 {
		t.Errorf("%d lines changed, want one", changed)
	}
	line := fmt.Sprintf("        {\"digest\": %q, \"size\": 1099511627776},\n", sum("a"))
	if !strings.Contains(string(f.Encode()), line) {
		t.Errorf("a layer is not a line of its own:\n%s", f.Encode())
	}
}

// TestFileIsReplacedAsAWhole checks that permissions are kept, links followed and no temporary files left.
func TestFileIsReplacedAsAWhole(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "real.json"), filepath.Join(dir, FileName)
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real.json", link); err != nil {
		t.Fatal(err)
	}
	if err := example().Write(link); err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Lstat(link); err != nil || fi.Mode()&os.ModeSymlink == 0 {
		t.Errorf("the link is gone: %v, %v", fi, err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("permissions: %v, %v", fi, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 2 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	if err := example().Write(filepath.Join(dir, "none", FileName)); err == nil || !strings.HasPrefix(err.Error(), "write ") {
		t.Errorf("into a directory that is not there: %v", err)
	}
}

// TestFileRefused pairs invalid pin files with errors.
func TestFileRefused(t *testing.T) {
	good := string(example().Encode())
	change := func(old, instead string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("%s is not in the example", old)
		}
		return strings.Replace(good, old, instead, 1)
	}
	for in, want := range map[string]string{
		"":                                     "the file is empty: a JSON object is expected",
		change(`"version": 1`, `"version": 2`): "version: must be 1, got 2",
		change(`"id": "sha256:`, `"id": "sha512:`): "images[0].id: must be sha256: and 64 lower-case hexadecimal digits, got " +
			`"sha512:` + sum("amd id").Encoded() + `"`,
		change(`"size": 0`, `"size": -1`):                                 "images[0].layers[1].size: must be at least 0, got -1",
		change(`"from": `, `"origin": `):                                  `images[0]: unknown field "origin"`,
		change(`docker.io/library/name:v1`, `name:v1`):                    "images[0]: reference: name:v1 is not written in full, which would be docker.io/library/name:v1",
		change(`docker.io/library/name:v1`, `docker.io/team/name`):        "images[0]: reference: docker.io/team/name: has neither a tag nor a digest",
		change(`docker.io/library/name:v1`, `docker.io/team/Name`):        "images[0]: reference: docker.io/team/Name: the name must be lower case",
		change(`"linux/amd64"`, `"x86_64"`):                               `images[0]: platform: "x86_64" is not os/architecture[/variant] in Go's names, nor any`,
		change(`"linux/arm/v7"`, `"linux/amd64"`):                         "images[1]: docker.io/library/name:v1 for linux/amd64 is given twice: remove one",
		change(`"/var/lib/x"`, `"var/lib/x"`):                             "images[2]: storage-location: var/lib/x: want an absolute path, of a containers-storage",
		change(`"2026-02-03T04:05:06Z"`, `"yesterday"`):                   `parsing time "yesterday" as "2006-01-02T15:04:05Z07:00": cannot parse "yesterday" as "2006"`,
		change(`"transport": "containers-storage"`, `"transport": "oci"`): `images[2].transport: must be "docker" or "containers-storage", got "oci"`,
	} {
		if _, err := Parse([]byte(in)); err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}

// TestMerge checks that an unchanged pin keeps its block, and the file its order.
func TestMerge(t *testing.T) {
	f := example()
	later := f.Images[0].Resolved.Add(time.Hour)
	same, other, fresh := f.Images[0], f.Images[1], f.Images[1]
	same.Resolved, same.From = later, ""
	other.Resolved, other.Manifest = later, sum("other")
	fresh.Reference = "docker.io/library/a:v1"
	added, changed := f.Merge([]Image{same, other, fresh})
	if added != 1 || changed != 1 || len(f.Images) != 5 {
		t.Fatalf("%d added, %d changed: %+v", added, changed, f.Images)
	}
	if f.Images[0].Reference != fresh.Reference || !f.Images[1].Resolved.Equal(example().Images[0].Resolved) || f.Images[1].From == "" {
		t.Errorf("order, or the block of what is as before: %+v", f.Images[:2])
	}
	if f.Images[2].Manifest != sum("other") || !f.Images[2].Resolved.Equal(later) {
		t.Errorf("what changed: %+v", f.Images[2])
	}
}

func TestSelect(t *testing.T) {
	f := example()
	for name, want := range map[string]int{
		"name": 4, "name:v1": 3, "library/name": 2, "docker.io/library/name:v1": 2, "docker://docker.io/library/name": 2,
		"containers-storage:localhost/name:v1": 1, "ame": -1, "name:v": -1, "": -1, "docker.io/library": -1,
	} {
		got, err := f.Select([]string{name})
		if want < 0 {
			text := fmt.Sprintf("nothing is pinned as %q; pinned is docker.io/library/name:v1, localhost/name:v1, registry.example/name@%s", name, sum("fixed"))
			if err == nil || err.Error() != text {
				t.Errorf("%q: %v, %v", name, got, err)
			}
		} else if err != nil || len(got) != want {
			t.Errorf("%q: %d images, %v; want %d", name, len(got), err, want)
		}
	}
	if got, err := f.Select(nil); err != nil || len(got) != 4 {
		t.Errorf("no names: %v, %v", got, err)
	}
}

// A file that could not be read back is not written, and the error names the image.
func TestWriteReadsBack(t *testing.T) {
	good := Image{Reference: "registry.example/a:1", Platform: "linux/amd64", Manifest: sum("1"), ID: sum("2"), Layers: []Layer{{sum("3"), 5}}, Resolved: time.Unix(1, 0).UTC()}
	if err := (&File{Version: 1, Images: []Image{good}}).Write(filepath.Join(t.TempDir(), "pins")); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(i *Image){
		"size":        func(i *Image) { i.Layers = []Layer{{sum("3"), 1<<50 + 1}} },
		"sizes":       func(i *Image) { i.Layers = []Layer{{sum("3"), math.MaxInt64}, {sum("4"), math.MaxInt64}} },
		"negative":    func(i *Image) { i.Layers = []Layer{{sum("3"), -1}} },
		"digest":      func(i *Image) { i.Manifest = "sha256:1" },
		"reference":   func(i *Image) { i.Reference = "a:2" },
		"platform":    func(i *Image) { i.Platform = "PDP/11" },
		"no location": func(i *Image) { i.Transport = "containers-storage"; i.StorageLocation = "here" },
	} {
		path := filepath.Join(t.TempDir(), "pins")
		if err := os.WriteFile(path, []byte("as before"), 0o600); err != nil {
			t.Fatal(err)
		}
		bad := good
		bad.Reference = "registry.example/b:1"
		spoil(&bad)
		err := (&File{Version: 1, Images: []Image{good, bad}}).Write(path)
		if err == nil || !strings.Contains(err.Error(), bad.Reference+" for "+bad.Platform+" cannot be pinned: ") {
			t.Errorf("%s: got %v", name, err)
		}
		if raw, _ := os.ReadFile(path); string(raw) != "as before" {
			t.Errorf("%s: the file was changed", name)
		}
	}
	if err := (&File{Version: 1, Images: []Image{good, good}}).Write(filepath.Join(t.TempDir(), "pins")); err == nil || !strings.Contains(err.Error(), "is given twice") {
		t.Errorf("twice: got %v", err)
	}
}

// TestReadSaysWhy checks the errors for pin files of later versions and for merge conflicts.
func TestReadSaysWhy(t *testing.T) {
	for raw, want := range map[string]string{
		`{"version": 2, "images": []}`:               "was made by a newer osbuild-containers",
		"{\n<<<<<<< HEAD\n\"version\": 1\n=======\n": "has the marks of a merge conflict",
		`{"version": 1}`:                             "is not a pin file",
	} {
		path := filepath.Join(t.TempDir(), FileName)
		if err := os.WriteFile(path, []byte(raw), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Read(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", raw, err, want)
		}
	}
}
