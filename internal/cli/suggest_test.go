package cli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"osbuild-containers/internal/hint"
)

// each calls do for a command and those below it, except for those that cobra adds.
func each(cmd *cobra.Command, do func(cmd *cobra.Command)) {
	do(cmd)
	for _, sub := range cmd.Commands() {
		if sub.Name() != "help" && sub.Name() != "completion" {
			each(sub, do)
		}
	}
}

// refusal runs a command line that has to be refused, and returns what a user reads.
func refusal(t *testing.T, args ...string) string {
	t.Helper()
	var out bytes.Buffer
	err := newRoot(Env{Args: args, Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out}).Execute()
	if exitStatus(err) != exitRefused {
		t.Errorf("%q: got status %d, want %d: %v", args, exitStatus(err), exitRefused, err)
	}
	if err == nil {
		return ""
	}
	return hint.Text(err, hint.Flags)
}

// inside are words of Go and its libraries that no user should read.
var inside = []string{"strconv", "arg(s)", "parsing", "invalid argument", "syntax", "panic", "pflag", "cobra", "shorthand", "needs an argument", "%!"}

// TestMessagesForPeople gives every flag of every command values that it does not take, and every command too few and too
// many arguments.
func TestMessagesForPeople(t *testing.T) {
	t.Parallel()
	check := func(line []string) {
		t.Helper()
		text := refusal(t, line...)
		for _, word := range inside {
			if strings.Contains(text, word) {
				t.Errorf("%q: the message has %q in it: %s", line, word, text)
			}
		}
	}
	each(Root(), func(cmd *cobra.Command) {
		path := strings.Fields(pathBelowRoot(cmd))
		line := func(more ...string) []string { return append(append([]string{}, path...), more...) }
		check(line("--nonsense"))
		check(line("-Z"))
		check(line("---x"))
		if cmd.Args != nil && cmd.Name() != "pin" && cmd.Args(cmd, make([]string, 50)) != nil {
			check(line(make([]string, 50)...))
		}
		if cmd.Args != nil && cmd.Args(cmd, nil) != nil {
			check(line())
		}
		flags := func(f *pflag.Flag) {
			switch f.Value.Type() {
			case "bool":
				check(line("--" + f.Name + "=maybe"))
			case "string", "stringArray":
				check(line("--" + f.Name))
			case "stringSlice":
				check(line("--" + f.Name + "=a\"b"))
			default:
				check(line("--" + f.Name + "=some"))
				check(line("--" + f.Name))
			}
		}
		cmd.LocalFlags().VisitAll(flags)
		cmd.InheritedFlags().VisitAll(flags)
	})
}

// TestSuggestions shows what is said of commands and flags that are not there.
func TestSuggestions(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"pull":                      "use osbuild-containers fetch",
		"login":                     "use podman login",
		"ftech":                     "did you mean osbuild-containers fetch",
		"help nonsense":             "see osbuild-containers --help",
		"help pin chekc":            "did you mean osbuild-containers pin check",
		"pin ls":                    "use osbuild-containers pin list, or osbuild-containers pin docker://ls if an image is meant",
		"pin --check":               "use osbuild-containers pin check",
		"pin --parse-only app":      "use osbuild-containers pin parse",
		"pin check --update":        "use osbuild-containers pin update",
		"fetch --platform x":        "use --arch",
		"fetch --insecure":          "use --tls-verify=false",
		"fetch --creds a:b":         "use --authfile, or log in with podman login",
		"list --format x":           "use --json",
		"fetch --manifset x":        "did you mean --manifest",
		"list -cache x":             "use --cache, with two dashes",
		"fetch --something-else":    "see osbuild-containers fetch --help",
		"gc all":                    "see osbuild-containers gc --help",
		"mirror --src-tls-verify=0": "use --tls-verify=false",
	} {
		if text := refusal(t, strings.Fields(line)...); !strings.HasSuffix(text, "\n"+want) {
			t.Errorf("%s: got %q, want %q", line, text, want)
		}
	}
}

// TestSuggestionsExist shows that the commands and flags that the tables name are there.
func TestSuggestionsExist(t *testing.T) {
	t.Parallel()
	have := map[string]bool{}
	each(Root(), func(cmd *cobra.Command) {
		add := func(f *pflag.Flag) { have["--"+f.Name] = true }
		cmd.LocalFlags().VisitAll(add)
		cmd.InheritedFlags().VisitAll(add)
		have[cmd.Name()] = true
	})
	for word, use := range otherCommands {
		if use = withTool(use); strings.HasPrefix(use, Name) && !have[strings.Trim(strings.Fields(use)[1], ",")] {
			t.Errorf("%s: there is no command %s", word, use)
		}
	}
	for word, use := range otherFlags {
		for _, field := range strings.Fields(use) {
			if flag, _, _ := strings.Cut(strings.Trim(field, ","), "="); strings.HasPrefix(flag, "--") && !have[flag] {
				t.Errorf("%s: there is no flag %s", word, flag)
			}
		}
	}
}

// TestFlagsWhereTheyDoSomething shows that a command has the flags for the cache and for registries only if it uses them.
func TestFlagsWhereTheyDoSomething(t *testing.T) {
	t.Parallel()
	seen := 0
	each(Root(), func(cmd *cobra.Command) {
		use, is := uses[pathBelowRoot(cmd)]
		if is {
			seen++
		}
		for flag, want := range map[string]bool{"cache": use.cache, "store": use.cache, "authfile": use.registry, "retries": use.registry, "quiet": use.quiet || pathBelowRoot(cmd) == "list", "debug": use.debug} {
			if got := cmd.Flag(flag) != nil; got != want {
				t.Errorf("%s --%s: got %t, want %t", cmd.CommandPath(), flag, got, want)
			}
		}
	})
	if seen != len(uses) {
		t.Errorf("%d of %d commands are there", seen, len(uses))
	}
}
