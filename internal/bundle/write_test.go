package bundle

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sys/unix"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/resolve"
	"osbuild-containers/test/images"
)

// TestExistingDirectories checks which directories a bundle can replace.
func TestExistingDirectories(t *testing.T) {
	img := images.New(images.Layer(50))
	from := filepath.Join(t.TempDir(), "cache")
	bring(t, from, write(t, layoutOf([]map[string]any{entry(img.Raw, v1.MediaTypeImageManifest, "")}, blobsOf(img)...)...))
	dir := t.TempDir()
	t.Chdir(dir)
	must(t, os.Mkdir("empty", 0o755))
	must(t, os.Symlink("empty", "link"))
	must(t, os.Symlink("nowhere", "dangling"))
	for path, want := range map[string]string{
		"dangling":  "open dangling: " + filepath.Join(dir, "dangling") + " is a symbolic link to " + filepath.Join(dir, "nowhere") + ", which does not exist",
		"dangling/": "open dangling/: " + filepath.Join(dir, "dangling") + " is a symbolic link to ",
		".":         ". is in use, as a mount point or the directory you are in: name one in it",
	} {
		if path == "." {
			must(t, os.Mkdir("here", 0o755))
			t.Chdir("here")
		}
		err := Output{Path: path, Format: FormatOCI}.Check()
		if want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("%s: got %v, want %s", path, err, want)
		}
		t.Chdir(dir)
	}
	if proc, err := resolve.Find("/proc"); err != nil || !isUsed(proc) {
		t.Errorf("a mount point: %v", err)
	}
	o := Output{Path: "link", Format: FormatOCI}
	must(t, o.Check())
	must(t, exportAll(t.Context(), from, o))
	if target, err := os.Readlink("link"); err != nil || target != "empty" {
		t.Errorf("got %q, %v", target, err)
	}
	if names, err := os.ReadDir("empty"); len(names) == 0 {
		t.Error(err, "the bundle is not where the link leads")
	}
}

// TestOutputOfAnotherUser exports to a world-writable directory in which another user has created files.
func TestOutputOfAnotherUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make files of other users")
	}
	const other = 1234
	dir, precious := t.TempDir(), filepath.Join(t.TempDir(), "precious")
	must(t, os.Chmod(dir, 0o777|os.ModeSticky))
	for name, c := range map[string]struct {
		format string
		put    func(path string) error
		at     string // the name, if it is not that of the output
	}{
		"link":              {FormatArchive, func(path string) error { return os.Symlink(precious, path) }, ""},
		"link, a directory": {FormatOCI, func(path string) error { return os.Symlink(filepath.Dir(precious), path) }, ""},
		"pipe":              {FormatArchive, func(path string) error { return unix.Mkfifo(path, 0o666) }, ""},
		"file":              {FormatArchive, func(path string) error { return os.WriteFile(path, nil, 0o666) }, ""},
		"directory":         {FormatOCI, func(path string) error { return os.Mkdir(path, 0o777) }, ""},
		"unfinished":        {FormatOCI, func(path string) error { return os.Mkdir(path, 0o777) }, ".out.partial"},
		"link, unfinished":  {FormatOCI, func(path string) error { return os.Symlink(filepath.Dir(precious), path) }, ".out.partial"},
	} {
		t.Run(name, func(t *testing.T) {
			must(t, os.WriteFile(precious, []byte("precious"), 0o600))
			path := filepath.Join(dir, cmp.Or(c.at, "out"))
			must(t, c.put(path))
			must(t, os.Lchown(path, other, other))
			defer os.RemoveAll(path)
			o := Output{Path: filepath.Join(dir, "out"), Format: c.format}
			if err := o.Check(); c.at == "" && (!errors.Is(err, resolve.ErrForeign) || !strings.Contains(err.Error(), path+" belongs to user 1234")) {
				t.Errorf("before any work: %v", err)
			}
			if err := exportAll(t.Context(), t.TempDir(), o); err == nil {
				t.Error("it was written")
			}
			if got, err := os.ReadFile(precious); string(got) != "precious" {
				t.Errorf("got %q, %v", got, err)
			}
			var st unix.Stat_t
			if must(t, unix.Lstat(path, &st)); st.Uid != other {
				t.Error("what was there was replaced")
			}
		})
	}
}

// TestNewOfWhatIsNotThere: an image that is not in the cache is an error that names it.
func TestNewOfWhatIsNotThere(t *testing.T) {
	id := digest.FromString("image")
	_, err := New(cache.Open(t.TempDir()), []Wanted{{ID: id}}, Have{})
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "it is not in the cache") {
		t.Errorf("got %v, want that it is not in the cache", err)
	}
}
