package cli

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

var (
	// callInText is a call of the tool in a page or an example, up to what ends it in a shell or in Markdown.
	callInText = regexp.MustCompile("(?m)(?:^ *|`|\\$ |sudo |- |\\[|\\| )" + Name + `((?: (?:'[^']*'|"[^"]*"|[^\s'"` + "`" + `|>&;…)\]#]+))+)`)
	wordInText = regexp.MustCompile(`'[^']*'|"[^"]*"|\S+`)
)

// TestCallsInTextsAreValid parses each call of the tool in the pages and in the examples of commands: the command and
// its flags exist, and it takes that many arguments. A text may name a command without arguments.
func TestCallsInTextsAreValid(t *testing.T) {
	t.Parallel()
	texts := map[string]string{}
	for _, pattern := range []string{"../../*.md", "../../docs/*.md", "../../docs/design/*.md"} {
		pages, err := filepath.Glob(pattern)
		if err != nil || len(pages) == 0 {
			t.Fatalf("%s: %d pages, %v", pattern, len(pages), err)
		}
		for _, page := range pages {
			raw, err := os.ReadFile(page)
			if err != nil {
				t.Fatal(err)
			}
			texts[page] = string(raw)
		}
	}
	delete(texts, "../../CHANGELOG.md") // it names what no longer exists
	each(Root(), func(cmd *cobra.Command) { texts["example of "+cmd.CommandPath()] = cmd.Example })

	calls := 0
	for where, text := range texts {
		for _, m := range callInText.FindAllStringSubmatch(strings.ReplaceAll(text, "\\\n", ""), -1) {
			args := wordInText.FindAllString(m[1], -1)
			for i, arg := range args {
				args[i] = strings.Trim(arg, `'"`)
			}
			cmd, rest, err := Root().Find(args)
			calls++
			if err == nil {
				if err = cmd.ParseFlags(rest); err == nil && cmd.Flags().NArg() > 0 {
					err = cmd.ValidateArgs(cmd.Flags().Args())
				}
			}
			if err != nil {
				t.Errorf("%s: %s%s: %v", where, Name, m[1], err)
			}
		}
	}
	if calls < 100 {
		t.Errorf("%d calls are in the pages and examples, want at least 100", calls)
	}
}
