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
	cmd.Short = "Pin tags to digests"
	cmd.GroupID = groupPin
	cmd.Args = bareArguments
	cmd.Long = `pin manages a pin file, which has the digests that references pointed to when
they were pinned: those of manifest list and manifest, and the image id, for
each platform. Without a subcommand it is pin add. To pin an image named like a
subcommand, use pin add: pin add list.`
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
		Short: "Pin references to their current digests",
		Long: `add resolves references and writes their digests to the pin file. It replaces
pins of the same reference and platform, and keeps all others. If a reference
cannot be resolved, the file is not changed.

A REF is an image in a registry, with or without docker:// before it, or in a
containers storage: containers-storage:NAME or containers-storage:[STORE]NAME. A
name without a registry is resolved by registries.conf.

With --pins -, a new pin file is written to standard output.`,
		Example: `  osbuild-containers pin add registry.example.com/team/base:1 --arch aarch64
  osbuild-containers pin add --from images.txt
  osbuild-containers pin add registry.example.com/team/base:1 --dry-run`,
		RunE: func(cmd *cobra.Command, args []string) error { return p.runAdd(cmd.Context(), args) },
	}
	f := cmd.Flags()
	p.pinsFlag(f)
	p.archFlag(f, "comma-separated list of `ARCH` (default this machine's), by osbuild's or Go's names: x86_64, aarch64, arm64/v8, armhfp, ppc64le, s390x, riscv64; or any")
	p.fromFlag(f)
	p.dryRunFlag(f, "show what would be pinned, and write nothing")
	return cmd
}

func (p *pinCommand) listCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list [NAME…]",
		Short: "List pinned images",
		Long: `list shows the images of the pin file, without a request to a registry. A NAME
is the end of a reference, with or without its tag; the default is all images.`,
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
		Short: "Check whether pins are up to date and served",
		Long: `check asks registries whether pinned images are still served, and whether tags
still point to them. It downloads no layers. A NAME is the end of a reference,
with or without its tag; the default is all images.

Exit status: 0 all pins are up to date, 3 a tag has moved, 4 a pinned image is
no longer served, 1 a check failed.`,
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
		Short: "Update pins of moved tags, and show the changes",
		Long: `update resolves tags again for the pinned platforms, and shows changed digests,
and layers and bytes added and removed. Images pinned by digest only are not
changed. A NAME is the end of a reference, with or without its tag; the default
is all images.`,
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
		Long: `remove removes images from the pin file, for all platforms or those given by
--arch. A NAME is the end of a reference, with or without its tag, and must
match one reference. Images stay in the cache: see rm and gc.`,
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
inputs of stages that refer to images. References to image ids are updated, and
names of images are replaced by ids. Everything else is kept byte for byte. With
-, the manifest is read from standard input and written to standard output.

No registry is asked unless a REF is given, which is pinned first. If the
manifest is refused, the pin file is not changed either.

With --print it prints the sources and inputs that the manifest would get;
without a FILE, those for all pinned images.`,
		Example: `  osbuild-containers pin manifest image.json
  osbuild-containers pin manifest image.json --arch aarch64 --dry-run
  osbuild-containers pin manifest --print
  osbuild-mpp image.mpp.yaml - | osbuild-containers pin manifest - > image.json`,
		RunE: func(cmd *cobra.Command, args []string) error { return p.runManifest(cmd.Context(), args) },
	}
	f := cmd.Flags()
	p.pinsFlag(f)
	p.archFlag(f, "comma-separated list of `ARCH` (default all pinned; for a REF this machine's)")
	f.BoolVar(&p.printed, "print", false, "print the sources and inputs that the manifest would get, and write no file")
	p.dryRunFlag(f, "show what would change, and write nothing")
	return cmd
}

func (p *pinCommand) exportCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export [NAME…]",
		Short: "Print pins as lines of name:tag@digest",
		Long: `export prints pins as name:tag@sha256:…, one line per reference, for Renovate
and other tools; pin add --from reads them. The digest is that of the manifest
list, if there is one.`,
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
		Short: "Show how references are parsed and resolved",
		Long: `parse shows how references are parsed, and the locations that they resolve to,
without a request to a registry.`,
		Example: `  osbuild-containers pin parse fedora docker://localhost:5000/app:1`,
		RunE:    func(cmd *cobra.Command, args []string) error { return p.runParse(cmd.Context(), args) },
	}
	p.archFlag(cmd.Flags(), "comma-separated list of `ARCH` (default this machine's)")
	p.fromFlag(cmd.Flags())
	return cmd
}

func (p *pinCommand) pinsFlag(f *pflag.FlagSet) {
	f.StringVar(&p.file, "pins", pin.FileName, "pin `FILE`")
	alias(f, "file", "pins")
}

func (p *pinCommand) archFlag(f *pflag.FlagSet, usage string) {
	f.StringSliceVar(&p.arch, "arch", nil, usage)
}

func (p *pinCommand) fromFlag(f *pflag.FlagSet) {
	f.StringVar(&p.from, "from", "", "also read references from this `FILE` or -: a pin file, or lines of name:tag@digest")
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
