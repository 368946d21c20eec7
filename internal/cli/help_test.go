package cli

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestHelpFitsATerminal(t *testing.T) {
	t.Parallel()
	for _, cmd := range Root().Commands() {
		var out bytes.Buffer
		root := newRoot(Env{Args: []string{cmd.Name(), "--help"}, Stdout: &out, Stderr: &out})
		if err := root.Execute(); err != nil || !strings.Contains(out.String(), "Usage:") {
			t.Errorf("%s --help: %v\n%s", cmd.Name(), err, &out)
		}
		for line := range strings.Lines(out.String()) {
			if line = strings.TrimSuffix(line, "\n"); utf8.RuneCountInString(line) > width {
				t.Errorf("%s --help: a line is over %d characters wide: %s", cmd.Name(), width, line)
			}
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
