package skopeo

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"osbuild-containers/test/images"
	"osbuild-containers/test/inputs"
)

// TestRefused has arguments that the schema accepts but the stage refuses. Nothing is written.
func TestRefused(t *testing.T) {
	for name, c := range map[string]struct {
		options map[string]any
		images  []string // names
		code    int
		want    string
	}{
		"no image":        {to(toDir, "/x"), nil, 2, "inputs.images.data.archives: must have an image"},
		"two for dir":     {to(toDir, "/x"), []string{"a", "b"}, 2, "must be exactly one image for dir, got 2: use containers-storage or oci, or a stage for each"},
		"two for archive": {to(toArchive, "/x"), []string{"a", "b"}, 2, "must be exactly one image for oci-archive, got 2"},
		"one name twice":  {to(toOCI, "/x"), []string{"a:v1", "a:v1"}, 2, `two images have the name "a:v1"`},
		"by default":      {to(toStorage, "/x"), []string{"a", "docker.io/library/a:latest"}, 2, `two images have the name "docker.io/library/a:latest"`},
		"no name":         {to(toStorage, "/x"), []string{"A b"}, 2, `"A b" is not the name of an image`},
		"path leaves":     {to(toDir, "/../x"), []string{"a"}, 2, `options.destination.path: must stay in the tree, but has ".." in it: "/../x"`},
		"storage leaves":  {to(toStorage, "a/../../x"), []string{"a"}, 2, `options.destination.storage-path: must stay in the tree, but has ".." in it`},
		"archive is root": {to(toArchive, "/"), []string{"a"}, 2, "options.destination.path: must be the path of a file"},
	} {
		a := inputs.New(t)
		a.Options = c.options
		for i, name := range c.images {
			a.Dir(t, name, small(uint64(i)))
		}
		code, log := call(t, a)
		entries, err := os.ReadDir(a.Tree)
		if code != c.code || !strings.Contains(log, c.want) || len(entries) != 0 || err != nil {
			t.Errorf("%s: exit status %d, %d entries in the tree: %s\nwant …%s…", name, code, len(entries), log, c.want)
		}
	}
}

// TestNothingOutsideOfTheTree has symbolic links in every path to the destination, and checks their targets.
func TestNothingOutsideOfTheTree(t *testing.T) {
	for _, kind := range []string{toDir, toOCI, toArchive, toStorage} {
		outside := t.TempDir()
		if err := os.WriteFile(filepath.Join(outside, "victim"), []byte("as it was"), 0o600); err != nil {
			t.Fatal(err)
		}
		before := listing(t, outside)
		for name, link := range map[string][2]string{ // name to path and target
			"/link/x":       {"link", outside},
			"/up/x":         {"up", "../../../../.." + outside},
			"/link":         {"link", outside},
			"/file":         {"file", filepath.Join(outside, "victim")},
			"/s":            {"s/vfs-images", outside},
			"/s ":           {"s /vfs/dir", outside},
			"/o":            {"o/blobs", outside},
			"/a/index.json": {"a/index.json", filepath.Join(outside, "victim")},
		} {
			a := inputs.New(t)
			a.Dir(t, "localhost/x:v1", small(1))
			a.Options = to(kind, name)
			path := filepath.Join(a.Tree, link[0])
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(link[1], path); err != nil {
				t.Fatal(err)
			}
			code, log := call(t, a)
			if got := listing(t, outside); got != before {
				t.Fatalf("%s to %s: exit status %d, and outside of the tree there is\n%s\n%s", kind, name, code, got, log)
			}
		}
	}
}

func TestExistingDestinationIsKept(t *testing.T) {
	for kind, want := range map[string]string{toDir: "not an image in this format", toOCI: "not an OCI layout"} {
		a := inputs.New(t)
		a.Dir(t, "localhost/x:v1", small(1))
		a.Options = to(kind, "/etc")
		if err := os.MkdirAll(filepath.Join(a.Tree, "etc"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(a.Tree, "etc/passwd"), []byte("root"), 0o600); err != nil {
			t.Fatal(err)
		}
		code, log := call(t, a)
		if code != 1 || !strings.Contains(log, want) || string(read(t, filepath.Join(a.Tree, "etc/passwd"))) != "root" {
			t.Errorf("%s: exit status %d: %s", kind, code, log)
		}
	}
}

// TestLayersStayInTheStorage has layers that write through their own symbolic links.
func TestLayersStayInTheStorage(t *testing.T) {
	drivers(t, func(t *testing.T, driver string) {
		outside := t.TempDir()
		must(t, os.WriteFile(filepath.Join(outside, "victim"), []byte("as it was"), 0o600))
		before := listing(t, outside)
		for name, to := range map[string]string{"absolute": outside, "up": strings.Repeat("../", 40) + outside} {
			a := inputs.New(t)
			a.Dir(t, "localhost/x:v1", images.New(images.Files(
				images.File{Name: outside[1:] + "/"}, // so that the link's target exists in the layer, too
				images.File{Name: "link", Link: to}, images.File{Name: "link/new", Data: []byte("x")},
				images.File{Name: "link/victim", Data: []byte("x")}, images.File{Name: "link/.wh.victim"}, images.File{Name: "link/deep/er/new"},
			)))
			a.Options, a.Epoch = storageOptions(driver), epoch
			code, log := call(t, a)
			if got := listing(t, outside); got != before {
				t.Fatalf("%s: exit status %d, and outside of the tree there is\n%s\n%s", name, code, got, log)
			}
		}
	})
}

// TestFileTypesAreCheckedFirst has files that must not be opened, and links to other places, in the destination's places: they are
// refused or replaced, and never read or written.
func TestFileTypesAreCheckedFirst(t *testing.T) {
	victim := filepath.Join(t.TempDir(), "victim")
	makers := map[string]func(string) error{
		"fifo":   func(path string) error { return syscall.Mkfifo(path, 0o666) },
		"socket": func(path string) error { return syscall.Mknod(path, syscall.S_IFSOCK|0o666, 0) },
		"device": func(path string) error { return syscall.Mknod(path, syscall.S_IFCHR|0o666, 1<<8|7) }, // /dev/full
		"link":   func(path string) error { return os.Symlink(victim, path) },
	}
	img := small(1)
	for _, c := range []struct{ kind, there, want string }{
		{toDir, "x/version", "not an image in this format"},
		{toOCI, "x/oci-layout", "not an OCI layout"},
		{toOCI, "x/index.json", "open index.json: not a regular file"},
		{toOCI, "x/blobs", "open directory blobs: "},
		{toOCI, "x/blobs/sha256", "open directory blobs/sha256: "},
		{toOCI, "x/blobs/sha256/" + img.Layers[0].Digest.Encoded(), ""},
		{toArchive, "x", ""},
	} {
		for name, create := range makers {
			a := inputs.New(t)
			a.Dir(t, "localhost/x", img)
			a.Options = to(c.kind, "/x")
			if c.there != "x" && c.there != "x/version" {
				succeed(t, a) // into an existing layout
			}
			must(t, os.WriteFile(victim, []byte(`{"imageLayoutVersion": "1.0.0"}`), 0o600))
			must(t, os.MkdirAll(filepath.Dir(filepath.Join(a.Tree, c.there)), 0o755))
			must(t, os.RemoveAll(filepath.Join(a.Tree, c.there)))
			if err := create(filepath.Join(a.Tree, c.there)); errors.Is(err, syscall.EPERM) {
				continue // only root can create devices
			} else if err != nil {
				t.Fatal(err)
			}
			code, log := call(t, a)
			if c.want == "" {
				info, err := os.Lstat(filepath.Join(a.Tree, c.there))
				if code != 0 || err != nil || !info.Mode().IsRegular() {
					t.Errorf("%s: %s: exit status %d, not replaced: %v %s", c.there, name, code, err, log)
				}
			} else if code != 1 || !strings.Contains(log, c.want) {
				t.Errorf("%s: %s: exit status %d: %s\nwant …%s…", c.there, name, code, log, c.want)
			}
			if got := string(read(t, victim)); got != `{"imageLayoutVersion": "1.0.0"}` {
				t.Errorf("%s: %s: what the link leads to is %q", c.there, name, got)
			}
		}
	}
}
