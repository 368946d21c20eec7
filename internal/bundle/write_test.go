package bundle

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"osbuild-containers/test/images"
)

// TestFoldersThatAreThere has those that a bundle can take the place of, and those that it cannot.
func TestFoldersThatAreThere(t *testing.T) {
	img := images.New(images.Layer(50))
	from := filepath.Join(t.TempDir(), "cache")
	bring(t, from, write(t, layoutOf([]map[string]any{entry(img.Raw, ociManifest, "")}, blobsOf(img)...)...))
	dir := t.TempDir()
	t.Chdir(dir)
	must(t, os.Mkdir("empty", 0o755))
	must(t, os.Symlink("empty", "link"))
	must(t, os.Symlink("nowhere", "dangling"))
	for path, want := range map[string]string{
		"dangling":  "dangling is a link that leads nowhere: name a folder",
		"dangling/": "dangling/ is a link that leads nowhere: name a folder",
		".":         ". is in use, as a mount point or the folder you are in: name one in it",
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
	if fi, err := os.Stat("/proc"); err != nil || !isUsed("/proc", fi) {
		t.Errorf("a mount point: %v", err)
	}
	o := Output{Path: "link", Format: FormatOCI}
	must(t, o.Check())
	must(t, exportAll(t.Context(), from, o))
	if target, err := os.Readlink("link"); err != nil || target != "empty" {
		t.Errorf("got %q, %v", target, err)
	}
	if isEmpty("empty") {
		t.Error("the bundle is not where the link leads")
	}
}
