package resolve_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"osbuild-containers/internal/resolve"
)

// TestPathsStayInTheTree creates directories through symbolic links that point outside, and checks where they are.
func TestPathsStayInTheTree(t *testing.T) {
	for path, want := range map[string]string{
		"/":                    ".",
		"":                     ".",
		"a//b/./c/":            "a/b/c",
		"/var/lib/x":           "var/lib/x",
		"/absolute/x":          "x",
		"/up/x":                "x",
		"/dir/up/x":            "x",
		"/dir/sideways/x":      "var/x",
		"/dangling/x":          "nowhere/at/all/x",
		"/chain/x":             "var/x",
		"/outside/etc/x":       "/etc/x", // replaced below
		"/dir/absolute-file/x": "",
		"/file/x":              "",
		"/loop/x":              "",
	} {
		top := t.TempDir()
		tree, outside := filepath.Join(top, "tree"), filepath.Join(top, "outside")
		for _, dir := range []string{tree + "/dir", tree + "/var", outside} {
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(tree+"/file", nil, 0o600); err != nil {
			t.Fatal(err)
		}
		for name, to := range map[string]string{
			"absolute": "/", "up": "../../../..", "dir/up": "../../../..", "dir/sideways": "/var", "dangling": "/nowhere/at/all",
			"chain": "dir/sideways", "outside": outside, "dir/absolute-file": "/file", "loop": "loop",
		} {
			if err := os.Symlink(to, filepath.Join(tree, name)); err != nil {
				t.Fatal(err)
			}
		}
		if strings.HasPrefix(path, "/outside") {
			want = filepath.Join(outside, "etc/x")
		}
		f, err := resolve.MkdirInTree(tree, path)
		if want == "" {
			if err == nil {
				t.Errorf("%s: is %s", path, f.Path)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if want = filepath.Join(tree, want); f.Path != want {
			t.Errorf("%s: is %s, want %s", path, f.Path, want)
		}
		byPath, err1 := os.Stat(want)
		byHandle, err2 := f.File.Stat()
		if err1 != nil || err2 != nil || !os.SameFile(byPath, byHandle) {
			t.Errorf("%s: the handle is not at %s: %v, %v", path, want, err1, err2)
		}
		if plain, err := filepath.EvalSymlinks(f.Path); err != nil || plain != f.Path {
			t.Errorf("%s: there is a symbolic link in %s, which is %s", path, f.Path, plain)
		}
		if found, _ := os.ReadDir(outside); len(found) != 0 {
			t.Errorf("%s: %v is outside of the tree", path, found)
		}
		f.Close()
	}
}

// TestFilesInTheTree finds files and directories through symbolic links: relative links from the directory that has them,
// absolute ones from the tree's root, the last name of a file too. Only MkdirInTree creates anything.
func TestFilesInTheTree(t *testing.T) {
	tree := t.TempDir()
	for _, dir := range []string{"etc/a", "a"} {
		if err := os.MkdirAll(filepath.Join(tree, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(tree+"/etc/file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{
		"etc/relative": "a", "etc/absolute": "/a", "etc/up": "../../../../a", "etc/to-file": "file", "etc/to-missing": "a/missing",
		"etc/far": "/../../../etc/file", "etc/chain": "to-file", "etc/loop": "loop", "etc/through-file": "file/x",
		"etc/to-root": "/",
	} {
		if err := os.Symlink(to, filepath.Join(tree, name)); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]string{ // "" is an error
		"/":                   ".",
		"etc/relative":        "etc/a",
		"etc/relative/../a/.": "",
		"etc/absolute":        "a",
		"etc/up":              "a",
		"etc/missing":         "",
		"etc/to-file":         "",
		"etc/through-file":    "",
		"etc/loop":            "",
	} {
		f, err := resolve.OpenInTree(tree, path)
		if err == nil {
			f.Close()
		}
		if (err == nil) != (want != "") || err == nil && f.Path != filepath.Join(tree, want) {
			t.Errorf("directory %s: %+v, %v, want %q", path, f, err, want)
		}
	}
	for path, want := range map[string]string{
		"etc/file":         "etc/file",
		"etc/to-file":      "etc/file",
		"etc/far":          "etc/file",
		"etc/chain":        "etc/file",
		"etc/relative/x":   "etc/a/x",
		"etc/absolute/x":   "a/x",
		"etc/to-missing":   "etc/a/missing",
		"etc/missing":      "etc/missing",
		"etc/missing/x":    "",
		"etc/file/x":       "",
		"etc/through-file": "",
		"etc/loop":         "",
		"etc/to-root":      "",
		"/":                "",
	} {
		f, base, err := resolve.FileInTree(tree, path)
		if err == nil {
			f.Close()
		}
		if (err == nil) != (want != "") || err == nil && filepath.Join(f.Path, base) != filepath.Join(tree, want) {
			t.Errorf("file %s: %q in %+v, %v, want %q", path, base, f, err, want)
		}
	}
	if found, err := os.ReadDir(tree + "/etc/a"); err != nil || len(found) != 0 {
		t.Errorf("created %v, %v", found, err)
	}
}

func TestPathsThatSayTheyLeave(t *testing.T) {
	for _, path := range []string{"..", "/a/../../b", "a/..", "/x\x00"} {
		if text := resolve.CheckInTree(path); text == "" {
			t.Errorf("%q is fine", path)
		}
		if _, err := resolve.MkdirInTree(t.TempDir(), path); err == nil {
			t.Errorf("%q is made", path)
		}
	}
	if text := resolve.CheckInTree("/a/..b/c.."); text != "" {
		t.Errorf("two dots in a name: %s", text)
	}
}

func TestTimesOfNewDirectoriesOnly(t *testing.T) {
	tree := t.TempDir()
	if err := os.Mkdir(tree+"/old", 0o700); err != nil {
		t.Fatal(err)
	}
	f, err := resolve.MkdirInTree(tree, "old/new/newer")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	when := time.Unix(1_700_000_000, 0)
	if err := f.SetTime(when); err != nil || !f.New() {
		t.Fatalf("%v, new: %v", err, f.New())
	}
	for name, want := range map[string]bool{"old": false, "old/new": true, "old/new/newer": true} {
		info, err := os.Stat(filepath.Join(tree, name))
		if err != nil || info.ModTime().Equal(when) != want {
			t.Errorf("%s has the time %v, %v", name, info.ModTime(), err)
		}
	}
}
