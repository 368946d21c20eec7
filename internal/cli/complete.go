package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"osbuild-containers/internal/bundle"
	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/cacheinfo"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/pin"
)

// completionCommand prints a shell completion script. The script calls cobra's hidden command __complete.
func (a *app) completionCommand(root *cobra.Command) *cobra.Command {
	scripts := map[string]func(io.Writer) error{
		"bash": func(w io.Writer) error { return root.GenBashCompletionV2(w, true) },
		"fish": func(w io.Writer) error { return root.GenFishCompletion(w, true) },
		"zsh":  root.GenZshCompletion,
	}
	return &cobra.Command{
		Use:   "completion bash|fish|zsh",
		Short: "Print a shell completion script",
		Long: `completion prints a script for shell completion of commands, flags, names and
ids of images, architectures and formats. Packages install it.`,
		Example: `  source <(osbuild-containers completion bash)
  osbuild-containers completion fish | source`,
		ValidArgs: []string{"bash", "fish", "zsh"},
		Args:      arguments(1, 1, "bash, fish or zsh"),
		RunE: func(_ *cobra.Command, args []string) error {
			script := scripts[args[0]]
			if script == nil {
				return refused(fmt.Errorf("completion: want bash, fish or zsh, got %q", args[0]))
			}
			var text bytes.Buffer
			if err := script(&text); err != nil {
				return err
			}
			// The script for bash would escape the commas of a list, and bash would not recognize what was typed. Values
			// need no escaping: see isPlain.
			return a.print("%s", strings.ReplaceAll(text.String(), `"%q`, `"%s`))
		},
	}
}

// complete sets the completions of the arguments and flags of a command and its subcommands. Those not in the tables of
// argumentValues and flagValues have none.
func (a *app) complete(cmd *cobra.Command) {
	path := pathBelowRoot(cmd)
	if cmd.ValidArgs == nil && cmd.ValidArgsFunction == nil {
		cmd.ValidArgsFunction = a.argumentValues(path)
	}
	completing := len(a.env.Args) > 0 && strings.HasPrefix(a.env.Args[0], cobra.ShellCompRequestCmd)
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if completing {
			_, f.Usage = pflag.UnquoteUsage(f) // shells show it without removing the quotes
		}
		if f.Value.Type() != "bool" {
			_ = cmd.RegisterFlagCompletionFunc(f.Name, flagValues(path, f.Name)) // an error only for a flag that is not there
		}
	})
	for _, sub := range cmd.Commands() {
		a.complete(sub)
	}
}

// argumentValues returns the completion of the arguments of a command.
func (a *app) argumentValues(path string) cobra.CompletionFunc {
	switch path {
	case "list", "verify", "rm", "export":
		return a.cached
	case "inspect", "tag":
		return inOrder(a.cached, cobra.NoFileCompletions)
	case "unpack":
		return inOrder(both(pinned, a.cached), files)
	case "import":
		return inOrder(files, cobra.NoFileCompletions)
	case "pin", "pin add", "pin list", "pin check", "pin update", "pin remove", "pin export", "pin parse", "fetch":
		return pinned
	case "pin manifest":
		return inOrder(jsonFiles, pinned)
	case "mirror":
		return inOrder(cobra.NoFileCompletions, pinned)
	}
	return cobra.NoFileCompletions
}

// flagValues returns the completion of the value of a flag.
func flagValues(path, flag string) cobra.CompletionFunc {
	switch flag {
	case "cache", "store", "cert-dir", "dest-cert-dir", "libdir":
		return directories
	case "pins", "manifest", "keep-manifest", "config":
		return jsonFiles
	case "authfile", "dest-authfile", "have", "output", "root-password-file", "root-password-hash":
		return files
	case "arch":
		return architectures(path)
	case "change":
		return instructions
	case "compression":
		return oneOf("none", bundle.CompressionGzip, bundle.CompressionZstd)
	}
	switch path + " " + flag {
	case "modules enable from":
		return directories
	case "pin from", "pin add from", "pin parse from":
		return files
	case "export format":
		return oneOf(bundle.FormatOCI, bundle.FormatArchive)
	case "unpack format":
		return oneOf(unpackFormats()...)
	}
	return cobra.NoFileCompletions
}

// files leaves files and directories to the shell.
func files(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveDefault
}

func jsonFiles(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return []cobra.Completion{"json"}, cobra.ShellCompDirectiveFilterFileExt
}

func directories(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveFilterDirs
}

func oneOf(values ...string) cobra.CompletionFunc {
	return cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)
}

// inOrder completes each argument with the function at its position, and further arguments with the last function.
func inOrder(all ...cobra.CompletionFunc) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return all[min(len(args), len(all)-1)](cmd, args, typed)
	}
}

// both offers the values of two functions, without duplicates.
func both(a, b cobra.CompletionFunc) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
		first, directive := a(cmd, args, typed)
		second, _ := b(cmd, args, typed)
		second = append(first, second...)
		slices.Sort(second)
		return slices.Compact(second), directive
	}
}

// architectures completes a comma-separated list of architectures.
func architectures(path string) cobra.CompletionFunc {
	known := []string{"x86_64", "amd64", "aarch64", "arm64", "armhfp", "ppc64le", "s390x", "riscv64"}
	if uses[path].registry || path == "pin parse" {
		known = append(known, "any")
	}
	return func(_ *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
		list := typed[:strings.LastIndex(typed, ",")+1]
		if !isPlain(strings.ReplaceAll(list, ",", "")) { // quoted when it was typed, and not quoted when it is offered
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var values []cobra.Completion
		for _, arch := range known {
			if !slices.Contains(strings.Split(list, ","), arch) {
				values = append(values, list+arch)
			}
		}
		return values, cobra.ShellCompDirectiveNoFileComp
	}
}

// instructions completes the name of an instruction.
func instructions(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	var values []cobra.Completion
	for name := range changes {
		values = append(values, name+"=")
	}
	slices.Sort(values)
	return values, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

// pinned completes names of pinned images, as accepted by pin.File.Select. There are none if the pin file cannot be
// read.
func pinned(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	paths := []string{pin.FileName}
	if flag := cmd.Flag("pins"); flag != nil && flag.Changed {
		paths = []string{flag.Value.String()}
		if several, ok := flag.Value.(pflag.SliceValue); ok {
			paths = several.GetSlice()
		}
	}
	var names []string
	for _, path := range paths {
		if fi, err := os.Stat(path); err != nil || !fi.Mode().IsRegular() { // reading a pipe may block
			continue
		}
		f, err := pin.Read(path)
		if err != nil {
			continue
		}
		for n := range f.Images {
			names = append(names, f.Images[n].Reference)
		}
	}
	return ends(names, args, typed), cobra.ShellCompDirectiveNoFileComp
}

// cached completes names of images in the cache, as accepted by cacheinfo.Find, and ids whose beginning was typed. There
// are none if the cache cannot be read.
func (a *app) cached(_ *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	dir, err := a.cacheDir()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	images, _ := cacheinfo.ScanNames(cache.Open(dir))
	var names []string
	var ids []cobra.Completion
	for _, i := range images {
		for _, n := range i.Names() {
			names = append(names, n.String())
		}
		for _, id := range []string{manifest.Short(i.ID), i.ID.String()} {
			begun := typed != "" || len(i.Origins) == 0
			if begun && strings.HasPrefix(id, typed) && !slices.Contains(args, id) {
				ids = append(ids, cobra.CompletionWithDesc(id, i.Title()))
				break
			}
		}
	}
	return append(ends(names, args, typed), ids...), cobra.ShellCompDirectiveNoFileComp
}

// isPlain reports whether a name has no characters that are special to a shell and does not look like a flag. Names
// recorded by other programs may have any characters.
func isPlain(name string) bool {
	return !strings.HasPrefix(name, "-") && !strings.ContainsFunc(name, func(r rune) bool {
		return !strings.ContainsRune("-._/:@", r) && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
	})
}

// ends returns the names that begin with what was typed, or their longest ends after a slash that do. It leaves out those
// that are arguments already.
func ends(names, args []string, typed string) []cobra.Completion {
	var found []cobra.Completion
	for _, name := range names {
		for rest, more := name, true; more; _, rest, more = strings.Cut(rest, "/") {
			if strings.HasPrefix(rest, typed) {
				if isPlain(rest) && !slices.Contains(args, rest) {
					found = append(found, rest)
				}
				break
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}
