package cli

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"
)

//go:generate go test -tags "$TAGS" -run ^TestHelp$ . -update

var update = flag.Bool("update", false, "rewrite the golden files")

// TestHelp shows that the help of each command fits a terminal, and compares it with the file in testdata/help. "make
// generated" writes these again.
func TestHelp(t *testing.T) {
	t.Parallel()
	golden := filepath.Join("testdata", "help")
	left := map[string]bool{}
	old, err := os.ReadDir(golden)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range old {
		left[e.Name()] = true
	}
	var check func(cmd *cobra.Command)
	check = func(cmd *cobra.Command) {
		var out bytes.Buffer
		args := append(strings.Fields(cmd.CommandPath())[1:], "--help")
		root := newRoot(Env{Args: args, Stdout: &out, Stderr: &out})
		if err := root.Execute(); err != nil || !strings.Contains(out.String(), "Usage:") {
			t.Errorf("%s --help: %v\n%s", cmd.CommandPath(), err, &out)
		}
		for line := range strings.Lines(out.String()) {
			if line = strings.TrimSuffix(line, "\n"); utf8.RuneCountInString(line) > width {
				t.Errorf("%s --help: a line is over %d characters wide: %s", cmd.CommandPath(), width, line)
			}
		}
		name := strings.ReplaceAll(cmd.CommandPath(), " ", "-") + ".txt"
		delete(left, name)
		path := filepath.Join(golden, name)
		if want, _ := os.ReadFile(path); *update {
			if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		} else if !bytes.Equal(want, out.Bytes()) {
			t.Errorf("%s has changed: run make generated, and look at the difference", path)
		}
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() {
				check(sub)
			}
		}
	}
	check(Root())
	for name := range left {
		if !*update {
			t.Errorf("%s is of no command", name)
		} else if err := os.Remove(filepath.Join(golden, name)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNumbersOfFlags(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	root := newRoot(Env{Args: []string{"fetch", "--retries", "x"}, Stdout: &out, Stderr: &out})
	if err := root.Execute(); err == nil || err.Error() != `--retries: want a whole number, got "x"` {
		t.Errorf("got %v", err)
	}
}
