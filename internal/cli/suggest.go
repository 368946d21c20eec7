package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/progress"
)

// otherCommands maps commands known from other tools to what to use here: a command of this tool, without its name, or one
// of another tool. A key with a space is a subcommand.
var otherCommands = map[string]string{
	"add":       "pin add",
	"check":     "verify, or pin check for what is pinned",
	"clean":     "gc",
	"copy":      "mirror, or fetch to bring images into a cache",
	"cp":        "mirror, or fetch to bring images into a cache",
	"delete":    "rm",
	"df":        "du",
	"digest":    "pin --dry-run",
	"download":  "fetch",
	"get":       "fetch",
	"image":     "list",
	"images":    "list",
	"info":      "inspect",
	"list-tags": "skopeo list-tags",
	"load":      "import",
	"lock":      "pin",
	"login":     "podman login",
	"logout":    "podman logout",
	"ls":        "list",
	"manifest":  "inspect, or pin manifest for a manifest of osbuild",
	"prune":     "gc",
	"pull":      "fetch",
	"purge":     "gc",
	"push":      "mirror",
	"remove":    "rm",
	"resolve":   "pin --dry-run",
	"rmi":       "rm",
	"save":      "export",
	"search":    "podman search",
	"show":      "inspect",
	"sync":      "mirror",
	"tags":      "skopeo list-tags",
	"update":    "pin update",
	"validate":  "verify",

	"pin delete":  "pin remove",
	"pin images":  "pin list",
	"pin inject":  "pin manifest",
	"pin ls":      "pin list",
	"pin rm":      "pin remove",
	"pin show":    "pin list",
	"pin upgrade": "pin update",
	"pin verify":  "pin check",
}

// otherFlags maps flags known from other tools, or earlier versions of this one, to what to use here. A value that starts
// with a flag applies to the commands that have that flag. A key with a space applies to a command and its subcommands.
var otherFlags = map[string]string{ //nolint:gosec // names of flags, no credentials
	"all":                      "--arch, which takes several architectures with commas between them",
	"all-platforms":            "--arch, which takes several architectures with commas between them",
	"allow-insecure":           "--tls-verify=false",
	"architecture":             "--arch",
	"cache-dir":                "--cache",
	"certs":                    "--cert-dir",
	"creds":                    "--authfile, or log in with podman login",
	"dest-creds":               "--dest-authfile, or log in with podman login",
	"dir":                      "--cache",
	"dry-run":                  Name + " fetch --dry-run to see what would be downloaded",
	"format":                   "--json",
	"full-digest":              "--json, which has digests in full",
	"insecure":                 "--tls-verify=false",
	"insecure-skip-tls-verify": "--tls-verify=false",
	"lock":                     "--pins",
	"log-level":                "--debug",
	"lockfile":                 "--pins",
	"multi-arch":               "--arch, which takes several architectures with commas between them",
	"no-trunc":                 "--json, which has digests in full",
	"no-verify":                "--tls-verify=false",
	"output":                   "--json for a program, or send standard output to a file",
	"override-arch":            "--arch",
	"override-variant":         "--arch, as in arm/v7",
	"parallel":                 "--max-parallel",
	"password":                 "--authfile, or log in with podman login",
	"plain-http":               "--tls-verify=false",
	"platform":                 "--arch",
	"registry-conf":            "the environment variable CONTAINERS_REGISTRIES_CONF",
	"registries-conf":          "the environment variable CONTAINERS_REGISTRIES_CONF",
	"retry":                    "--retries",
	"retry-times":              "--retries",
	"root":                     "--cache",
	"skip-tls-verify":          "--tls-verify=false",
	"src-authfile":             "--authfile",
	"src-cert-dir":             "--cert-dir",
	"src-creds":                "--authfile, or log in with podman login",
	"src-tls-verify":           "--tls-verify=false",
	"to":                       "--output",
	"verbose":                  "--debug",
	"username":                 "--authfile, or log in with podman login",

	"fetch output":    "--cache for the directory, or " + Name + " export for a file",
	"gc all":          "--max-size 0B to remove all images that are not in use",
	"gc force":        "--max-size 0B to remove all images that are not in use",
	"mirror format":   "--json",
	"pin check":       Name + " pin check",
	"pin format":      Name + " pin export for lines, or --json",
	"pin keep-pins":   "--pins",
	"pin list":        Name + " pin list",
	"pin manifest":    Name + " pin manifest FILE",
	"pin output":      "--pins",
	"pin parse-only":  Name + " pin parse",
	"pin plan":        "--dry-run",
	"pin print":       Name + " pin manifest --print",
	"pin remove":      Name + " pin remove",
	"pin update":      Name + " pin update",
	"rm force":        "it without: nothing is asked, and what is in use stays",
	"verify manifest": Name + " pin check for what is pinned",
}

// flagError rewords an error of parsing a command's flags.
func flagError(cmd *cobra.Command, err error) error {
	if unknown, ok := errors.AsType[*pflag.NotExistError](err); ok {
		return unknownFlag(cmd, unknown)
	}
	if wrong, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		flag, want := wrong.GetFlag(), wrong.Unwrap().Error()
		switch flag.Value.Type() {
		case "bool":
			err = fmt.Errorf("--%s: want true or false, got %q", flag.Name, wrong.GetValue())
			return refused(hint.Add(err, "use --%[1]s=true or --%[1]s=false", flag.Name))
		case "int":
			want = "want a whole number"
		case "stringSlice":
			want = "want values with commas between them"
		}
		err = fmt.Errorf("--%s: %s, got %q", flag.Name, want, wrong.GetValue())
	}
	if missing, ok := errors.AsType[*pflag.ValueRequiredError](err); ok {
		value, _ := pflag.UnquoteUsage(missing.GetFlag())
		err = fmt.Errorf("--%s: want a value, %s", missing.GetFlag().Name, value)
	}
	if wrong, ok := errors.AsType[*pflag.InvalidSyntaxError](err); ok {
		err = fmt.Errorf("%q is not a flag", wrong.GetSpecifiedFlag())
	}
	return refused(seeHelp(err, cmd))
}

// seeHelp adds a hint to see the command's help.
func seeHelp(err error, cmd *cobra.Command) error {
	return hint.Add(err, "see %s --help", cmd.CommandPath())
}

// unknownFlag returns the error for an unknown flag. It suggests the flag that was probably meant.
func unknownFlag(cmd *cobra.Command, unknown *pflag.NotExistError) error {
	name := unknown.GetSpecifiedName()
	err := fmt.Errorf("unknown flag: --%s", name)
	if group := unknown.GetSpecifiedShortnames(); group != "" {
		err = fmt.Errorf("unknown flag: -%s", name)
		if name = group; cmd.Flags().Lookup(name) != nil {
			return refused(hint.Add(err, "use --%s, with two dashes", name))
		}
	}
	if use := otherFlag(cmd, name); use != "" {
		return refused(hint.Add(err, "use %s", use))
	}
	var flags []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			flags = append(flags, f.Name)
		}
	})
	if near := similar(name, flags); len(near) > 0 {
		return refused(hint.Add(err, "did you mean --%s", strings.Join(near, " or --")))
	}
	return refused(seeHelp(err, cmd))
}

// otherFlag returns what to use instead of a flag, or "".
func otherFlag(cmd *cobra.Command, name string) string {
	for at := cmd; at != nil; at = at.Parent() {
		use := otherFlags[strings.TrimSpace(pathBelowRoot(at)+" "+name)]
		flag, is := strings.CutPrefix(use, "--")
		if end := strings.IndexAny(flag, "=, "); end >= 0 {
			flag = flag[:end]
		}
		if use != "" && (!is || cmd.Flags().Lookup(flag) != nil) {
			return use
		}
	}
	return ""
}

// pathBelowRoot returns the path of a command without the name of the tool.
func pathBelowRoot(cmd *cobra.Command) string {
	return strings.TrimPrefix(strings.TrimPrefix(cmd.CommandPath(), Name), " ")
}

// unknownCommand returns the error for an unknown subcommand of cmd. It suggests the one that was probably meant.
func unknownCommand(cmd *cobra.Command, typed string) error {
	path := strings.TrimSpace(pathBelowRoot(cmd) + " " + typed)
	err := fmt.Errorf("unknown command %q", path)
	if use := otherCommands[path]; use != "" {
		return hint.Add(err, "use %s", withTool(use))
	}
	if near := similar(typed, subcommands(cmd)); len(near) > 0 {
		return hint.Add(err, "did you mean %s", cmd.CommandPath()+" "+strings.Join(near, " or "+cmd.CommandPath()+" "))
	}
	return seeHelp(err, cmd)
}

// withTool prefixes a command with the name of this tool, unless it is of another tool.
func withTool(use string) string {
	if strings.HasPrefix(use, "podman ") || strings.HasPrefix(use, "skopeo ") {
		return use
	}
	return Name + " " + use
}

// subcommands returns the names of cmd's subcommands that help shows.
func subcommands(cmd *cobra.Command) []string {
	var names []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	return names
}

// similar returns the words similar to what was typed.
func similar(typed string, words []string) []string {
	near := &cobra.Command{SuggestionsMinimumDistance: 2}
	if len(typed) <= 4 {
		near.SuggestionsMinimumDistance = 1
	}
	for _, word := range words {
		near.AddCommand(&cobra.Command{Use: word, Run: func(*cobra.Command, []string) {}})
	}
	return near.SuggestionsFor(typed)
}

// arguments returns a check for the number of arguments, which are described by what. A negative most means no limit.
func arguments(least, most int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) >= least && (len(args) <= most || most < 0) {
			return nil
		}
		got := "none"
		if len(args) > 0 {
			got = progress.Count(len(args), "argument")
		}
		return fmt.Errorf("%s: want %s, got %s", pathBelowRoot(cmd), what, got)
	}
}

// noArguments refuses arguments. For a command with subcommands, an argument is an unknown subcommand.
func noArguments(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return nil
	case cmd.HasSubCommands():
		return unknownCommand(cmd, args[0])
	}
	return fmt.Errorf("%s takes no arguments, got %q", pathBelowRoot(cmd), args[0])
}

// bareArguments refuses an argument that looks like a misspelled subcommand of cmd, which also accepts image names.
func bareArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 || strings.ContainsAny(args[0], "./:@") {
		return nil
	}
	path := pathBelowRoot(cmd) + " " + args[0]
	near := slices.DeleteFunc(similar(args[0], subcommands(cmd)), func(word string) bool {
		return len(args[0]) < 3 || len(args[0]) > len(word)+1
	})
	use := otherCommands[path]
	if use == "" && len(near) > 0 {
		use = pathBelowRoot(cmd) + " " + near[0]
	}
	if use == "" {
		return nil
	}
	return hint.Add(fmt.Errorf("unknown command %q", path), "use %s, or %s docker://%s if an image is meant", withTool(use), cmd.CommandPath(), args[0])
}
