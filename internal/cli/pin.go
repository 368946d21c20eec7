package cli

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/pin"
	"osbuild-containers/internal/unpack"
)

// pinCommand is the command pin with its subcommands and their flags.
type pinCommand struct {
	*app
	file    string
	arch    []string
	from    string
	dryRun  bool
	printed bool
}

func (a *app) pinCommand() *cobra.Command {
	p := &pinCommand{app: a}
	cmd := p.addCommand()
	cmd.Use = "pin [REF…]"
	cmd.Short = "Turn tags into digests, and keep them true"
	cmd.GroupID = groupPin
	cmd.Args = bareArguments
	cmd.Long = `pin keeps a pin file: what references point to, as the digests of manifest list
and manifest and the image id, for each platform. Without a command it is pin
add. An image whose name is that of a command needs it: pin add list.`
	cmd.Example = `  osbuild-containers pin registry.example.com/team/base:1 --arch x86_64,aarch64
  osbuild-containers pin registry.example.com/team/base:1 --dry-run
  osbuild-containers pin check
  osbuild-containers pin update fedora-bootc
  osbuild-containers pin manifest image.json`
	cmd.AddCommand(p.addCommand(), p.listCommand(), p.checkCommand(), p.updateCommand(), p.removeCommand(),
		p.manifestCommand(), p.exportCommand(), p.parseCommand())
	return cmd
}

func (p *pinCommand) addCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add REF…",
		Short: "Pin what references point to now",
		Long: `add finds what references point to now and keeps it in the pin file. It replaces
what the file has for the same reference and platform and leaves the rest alone;
if one of the references cannot be pinned, the file stays as it was.

A REF is an image in a registry, with docker:// before it or without, or one in
the local store, containers-storage:NAME or containers-storage:[STORE]NAME. A
name without a registry is what registries.conf makes of it.

With --pins -, a new pin file is written to standard output.`,
		Example: `  osbuild-containers pin add registry.example.com/team/base:1 --arch aarch64
  osbuild-containers pin add --from images.txt
  osbuild-containers pin add registry.example.com/team/base:1 --dry-run`,
		RunE: func(cmd *cobra.Command, args []string) error { return p.runAdd(cmd.Context(), args) },
	}
	f := cmd.Flags()
	p.pinsFlag(f)
	p.archFlag(f, "`ARCH` to pin for, or several with commas between them (default this machine's), in osbuild's names or Go's: x86_64, aarch64, arm64/v8, armhfp, ppc64le, s390x, riscv64; or any")
	p.fromFlag(f)
	p.dryRunFlag(f, "show what would be pinned, and write nothing")
	return cmd
}

func (p *pinCommand) listCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list [NAME…]",
		Short: "Show what is pinned, without asking a registry",
		Long: `list shows what is pinned; it reads the pin file and nothing else. A NAME is the
end of a reference, with its tag or without; without any it is all.`,
		Example: `  osbuild-containers pin list
  osbuild-containers pin list base:1 --json`,
		RunE: func(cmd *cobra.Command, args []string) error { return p.runList(cmd.Context(), args) },
	}
	p.pinsFlag(cmd.Flags())
	p.archFlag(cmd.Flags(), "`ARCH`, or several with commas between them (default all)")
	return cmd
}

func (p *pinCommand) checkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check [NAME…]",
		Short: "Ask whether what is pinned is still true",
		Long: `check asks registries whether what is pinned is served, and whether tags still
point to it. It downloads nothing. A NAME is the end of a reference, with its
tag or without; without any it is all that is pinned.

Exit status: 0 all is well, 3 a tag has moved, 4 something pinned is not served
any more, 1 it cannot be told.`,
		Example: `  osbuild-containers pin check
  osbuild-containers pin check fedora-bootc --pins build.lock.json`,
		RunE: func(cmd *cobra.Command, args []string) error { return p.runCheck(cmd.Context(), args) },
	}
	p.pinsFlag(cmd.Flags())
	return cmd
}

func (p *pinCommand) updateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "update [NAME…]",
		Short: "Pin tags that have moved again, and show what changes",
		Long: `update follows tags, for the platforms that are pinned, and shows digests,
layers and bytes that come and go. What is pinned by digest alone stays. A NAME
is the end of a reference, with its tag or without; without any it is all that
is pinned.`,
		Example: `  osbuild-containers pin update --dry-run
  osbuild-containers pin update fedora-bootc`,
		RunE: func(cmd *cobra.Command, args []string) error { return p.runUpdate(cmd.Context(), args) },
	}
	p.pinsFlag(cmd.Flags())
	p.dryRunFlag(cmd.Flags(), "show what would change, and write nothing")
	return cmd
}

func (p *pinCommand) removeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "remove NAME…",
		Short: "Remove images from the pin file",
		Long: `remove takes images out of the pin file, for all their platforms or those that
--arch names. A NAME is the end of a reference, with its tag or without, and has
to mean one reference. The cache is left alone: see rm and gc.`,
		Example: `  osbuild-containers pin remove team/base:1
  osbuild-containers pin remove team/base:1 --arch s390x --dry-run`,
		Args: arguments(1, -1, "the name of what is pinned"),
		RunE: func(cmd *cobra.Command, args []string) error { return p.runRemove(cmd.Context(), args) },
	}
	p.pinsFlag(cmd.Flags())
	p.archFlag(cmd.Flags(), "`ARCH`, or several with commas between them (default all)")
	p.dryRunFlag(cmd.Flags(), "show what would be removed, and write nothing")
	return cmd
}

func (p *pinCommand) manifestCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "manifest FILE|- [REF…]",
		Short: "Put pins into an osbuild manifest",
		Long: `manifest puts pins into an osbuild manifest: into its sources, and into the
inputs of stages that refer to images. A reference to an image id is refreshed;
one to the name of an image is filled in. All else stays byte for byte. - reads
standard input and writes the manifest to standard output.

It asks no registry, unless a REF is named: that is pinned first. If the
manifest is refused, the pin file stays as it was, too.

With --print it writes what the manifest would get, its sources and inputs;
without a FILE, what a manifest needs for all that is pinned.`,
		Example: `  osbuild-containers pin manifest image.json
  osbuild-containers pin manifest image.json --arch aarch64 --dry-run
  osbuild-containers pin manifest --print
  osbuild-mpp image.mpp.yaml - | osbuild-containers pin manifest - > image.json`,
		RunE: func(cmd *cobra.Command, args []string) error { return p.runManifest(cmd.Context(), args) },
	}
	f := cmd.Flags()
	p.pinsFlag(f)
	p.archFlag(f, "`ARCH` of the manifest, or several with commas (default all that are pinned; for a REF this machine's)")
	f.BoolVar(&p.printed, "print", false, "write the sources and inputs that the manifest would get, and no file")
	p.dryRunFlag(f, "show what would change, and write nothing")
	return cmd
}

func (p *pinCommand) exportCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export [NAME…]",
		Short: "Write what is pinned as lines of name:tag@digest",
		Long: `export writes what is pinned to standard output as name:tag@sha256:…, a line for
each reference, for Renovate and for people; pin add --from reads it. The digest
is that of the manifest list where there is one.`,
		Example: `  osbuild-containers pin export > images.txt
  osbuild-containers pin export team/base`,
		RunE: func(cmd *cobra.Command, args []string) error { return p.runExport(cmd.Context(), args) },
	}
	p.pinsFlag(cmd.Flags())
	return cmd
}

func (p *pinCommand) parseCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "parse REF…",
		Short: "Show how references are understood",
		Long: `parse shows how references are understood, with the places that would be asked,
and asks none of them.`,
		Example: `  osbuild-containers pin parse fedora docker://localhost:5000/app:1`,
		RunE:    func(cmd *cobra.Command, args []string) error { return p.runParse(cmd.Context(), args) },
	}
	p.archFlag(cmd.Flags(), "`ARCH`, or several with commas between them (default this machine's)")
	p.fromFlag(cmd.Flags())
	return cmd
}

func (p *pinCommand) pinsFlag(f *pflag.FlagSet) {
	f.StringVar(&p.file, "pins", pin.FileName, "the pin `FILE`")
	alias(f, "file", "pins")
}

func (p *pinCommand) archFlag(f *pflag.FlagSet, usage string) {
	f.StringSliceVar(&p.arch, "arch", nil, usage)
}

func (p *pinCommand) fromFlag(f *pflag.FlagSet) {
	f.StringVar(&p.from, "from", "", "also the references in this `FILE` or -: a pin file, or lines of name:tag@digest")
}

func (p *pinCommand) dryRunFlag(f *pflag.FlagSet, usage string) {
	f.BoolVar(&p.dryRun, "dry-run", false, usage)
}

// resolver returns a resolver with the options given by the flags.
func (p *pinCommand) resolver() *pin.Resolver {
	return &pin.Resolver{Access: p.flags.access(), Options: p.flags.options, Note: p.env.Lines().Note}
}

// platforms returns the platforms given by --arch, without duplicates.
func (p *pinCommand) platforms() ([]pin.Platform, error) {
	arches := p.arch
	if len(arches) == 0 {
		arches = []string{runtime.GOARCH}
	}
	var all []pin.Platform
	for _, arch := range arches {
		platform, err := pin.ParsePlatform(arch)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(all, platform) {
			all = append(all, platform)
		}
	}
	return all, nil
}

// references returns the references given by the arguments and --from, without duplicates.
func (p *pinCommand) references(ctx context.Context, args []string) ([]pin.Reference, error) {
	if p.from != "" {
		raw, err := p.readFile(ctx, p.from)
		if err != nil {
			return nil, err
		}
		more, err := pin.Decode(raw)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.from, err)
		}
		args = append(slices.Clone(args), more...)
	}
	var all []pin.Reference
	var errs []error
	for _, text := range args {
		if text == unpack.Scratch {
			p.env.Lines().Note("%s is the empty image, which unpack has: there is nothing to pin", text)
			continue
		}
		ref, err := pin.ParseReference(p.flags.access(), text)
		if err != nil {
			errs = append(errs, err)
		} else if !slices.Contains(all, ref) {
			all = append(all, ref)
		}
	}
	if len(args) == 0 {
		errs = append(errs, hint.Add(errors.New("no image is named"), "see %s pin --help", Name))
	}
	return all, errors.Join(errs...)
}
