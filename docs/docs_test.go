// Package docs_test checks that the documentation refers to files, headings and tests that exist.
package docs_test

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	link     = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading  = regexp.MustCompile(`(?m)^#+ (.*)$`)
	unlinked = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
	testName = regexp.MustCompile("`((?:Test|Fuzz)[A-Z][A-Za-z0-9]*)`")
	docPage  = regexp.MustCompile(`\bdocs/[a-z-]+\.md`)
	testFunc = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)[A-Za-z0-9_]*)\(`)
)

// pages returns the Markdown files of the repository.
func pages(t *testing.T) []string {
	t.Helper()
	above, err := filepath.Glob("../*.md")
	if err != nil || len(above) == 0 {
		t.Fatalf("no pages: %v", err)
	}
	err = filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".md") {
			above = append(above, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return above
}

// anchors returns the anchors of a page's headings.
func anchors(page string) map[string]bool {
	names := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(page, -1) {
		text := unlinked.ReplaceAllString(strings.ToLower(m[1]), "")
		names[strings.ReplaceAll(text, " ", "-")] = true
	}
	return names
}

func read(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// TestLinks checks that each link into the repository leads to a file and, if it names one, to a heading.
func TestLinks(t *testing.T) { checkLinks(t, pages(t)) }

// TestInstalledLinks shows the same of the pages that are installed, for the files that are installed with them; and
// that what help and manual pages name is there.
func TestInstalledLinks(t *testing.T) {
	build, root := t.TempDir(), t.TempDir()
	for _, file := range []string{
		"osbuild-containers", "libdir/sources/x", "libdir/stages/x", "man1/x", "completions/osbuild-containers.bash",
		"completions/_osbuild-containers", "completions/osbuild-containers.fish",
	} {
		path := filepath.Join(build, file)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, nil, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	install := exec.Command("packaging/install", build, root, "")
	install.Dir = ".."
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	doc := filepath.Join(root, "share/doc/osbuild-containers")
	var installed []string
	if err := filepath.WalkDir(doc, func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".md") {
			installed = append(installed, path)
		}
		return err
	}); err != nil || len(installed) == 0 {
		t.Fatalf("no pages: %v", err)
	}
	checkLinks(t, installed)

	helps, err := filepath.Glob("../internal/cli/testdata/help/*.txt")
	if err != nil || len(helps) == 0 {
		t.Fatalf("no help: %v", err)
	}
	for _, help := range helps {
		for _, page := range docPage.FindAllString(read(t, help), -1) {
			if _, err := os.Stat(filepath.Join(doc, page)); err != nil {
				t.Errorf("%s: %v", help, err)
			}
		}
	}
}

func checkLinks(t *testing.T, pages []string) {
	t.Helper()
	for _, page := range pages {
		for _, m := range link.FindAllStringSubmatch(read(t, page), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			path, anchor, _ := strings.Cut(m[1], "#")
			target := page
			if path != "" {
				target = filepath.Join(filepath.Dir(page), path)
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s: link to %s: %v", page, m[1], err)
			} else if anchor != "" && !anchors(read(t, target))[anchor] {
				t.Errorf("%s: link to %s: no such heading", page, m[1])
			}
		}
	}
}

// TestNamedTestsExist checks that each test named on a page exists.
func TestNamedTestsExist(t *testing.T) {
	have := map[string]bool{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != ".." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "build") {
			return filepath.SkipDir
		}
		if strings.HasSuffix(path, "_test.go") {
			for _, m := range testFunc.FindAllStringSubmatch(read(t, path), -1) {
				have[m[1]] = true
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, page := range pages(t) {
		for _, m := range testName.FindAllStringSubmatch(read(t, page), -1) {
			if named++; !have[m[1]] {
				t.Errorf("%s: %s does not exist", page, m[1])
			}
		}
	}
	if named == 0 {
		t.Error("no page names a test")
	}
}
