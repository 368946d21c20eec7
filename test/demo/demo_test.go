package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"unicode/utf8"
)

// TestDemo runs all of it with the executables that make has built, and then the commands that it says to try next.
func TestDemo(t *testing.T) {
	t.Chdir("../..")
	if _, err := os.Stat("build/libdir/sources/org.osbuild.skopeo"); err != nil {
		t.Skip("the executables are not there: run make first")
	}
	var out strings.Builder
	dir := t.TempDir()
	if err := demo(&out, "build", dir); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, want := range []string{"linux/arm64   manifest", "without a request to the registry", "26 entries, ", "| linux "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	for line := range strings.Lines(strings.ReplaceAll(out.String(), dir, "build/demo")) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > columns {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	_, next, _ := strings.Cut(out.String(), "from the cache:\n")
	next, _, _ = strings.Cut(next, "And with an image of yours")
	text, err := exec.CommandContext(t.Context(), "sh", "-ec", next).CombinedOutput()
	if err != nil || !strings.Contains(string(text), "all is well: 2 images") || !strings.Contains(string(text), "unpacked to "+dir) {
		t.Errorf("%v\n%s\n%s", err, next, text)
	}
}

func TestDemoFailsWhenAnExecutableIsNotThere(t *testing.T) {
	t.Chdir("../..")
	var out strings.Builder
	if err := demo(&out, t.TempDir(), t.TempDir()); err == nil || !strings.Contains(err.Error(), "osbuild-containers pin") {
		t.Errorf("error %v", err)
	}
}

func TestCheckRefusesBadReplies(t *testing.T) {
	good := `{"success": true, "results": [{"metadata": {"cached": true}}]}`
	if err := check([]byte(good), 1, true); err != nil {
		t.Errorf("good reply: %v", err)
	}
	for name, bad := range map[string]string{
		"no JSON":     `oops`,
		"failed":      `{"success": false, "results": [{"metadata": {"cached": true}}]}`,
		"no result":   `{"success": true, "results": []}`,
		"not cached":  `{"success": true, "results": [{"metadata": {"cached": false}}]}`,
		"two results": `{"success": true, "results": [{"metadata": {"cached": true}}, {"metadata": {"cached": true}}]}`,
	} {
		if err := check([]byte(bad), 1, true); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestTextFitsTheTerminal(t *testing.T) {
	long := strings.Repeat("ä", 200)
	for line := range strings.Lines(indented("  | ", long)) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > columns || !strings.HasPrefix(line, "  | ") {
			t.Errorf("%d columns: %q", n, line)
		}
	}
	if got := shorten("sha256:" + strings.Repeat("0123abcd", 8)); got != "sha256:0123abcd…" {
		t.Errorf("shorten: %s", got)
	}
}

func TestPrettyKeepsWhatFitsOnALine(t *testing.T) {
	in := `{"b":{"x":1,"y":[true,null]},"a":"sha256:` + strings.Repeat("0123abcd", 8) + `","long":["` + strings.Repeat("z", 60) + `","q"],"e":{}}`
	want := `{
  "b": {"x": 1, "y": [true, null]},
  "a": "sha256:0123abcd…",
  "long": [
    "` + strings.Repeat("z", 60) + `",
    "q"
  ],
  "e": {}
}`
	if got := pretty([]byte(in)); got != want {
		t.Errorf("got\n%s", got)
	}
	if got := pretty([]byte(`{"a":`)); got != `{"a":` {
		t.Errorf("broken document: %q", got)
	}
}
