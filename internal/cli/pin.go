package cli

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/pin"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/unpack"
)

// pinCommand is the command pin, with what its flags say.
type pinCommand struct {
	*app
	file      string
	arch      []string
	from      string
	format    string
	check     bool
	update    bool
	parseOnly bool
	manifest  string
	printed   bool
}

func (a *app) pinCommand() *cobra.Command {
	p := &pinCommand{app: a}
	cmd := &cobra.Command{
		Use:     "pin [REF…]",
		Short:   "Turn tags into digests, and keep them true",
		GroupID: groupPin,
		Long: `pin finds what references point to now, the digests of manifest list and
manifest and the image id, and keeps them in a pin file. It replaces what the
file has for the same reference and platform and leaves the rest alone; if one
of the references cannot be pinned, the file stays as it was.

A REF is an image in a registry, with docker:// before it or without, or one in
the local store, containers-storage:NAME or containers-storage:[STORE]NAME. A
name without a registry is what registries.conf makes of it.

--check and --update take names of what is pinned: the end of a reference, with
its tag or without. Without names, all that is pinned is meant.

--manifest puts pins into an osbuild manifest: into its sources, and into the
inputs of stages that refer to images. A reference to an image id is refreshed;
one to the name of an image is filled in. All else stays byte for byte.

Exit status of --check: 0 all is well, 3 a tag has moved, 4 something pinned is
not served any more, 1 it cannot be told.`,
		Example: `  osbuild-containers pin registry.example.com/team/base:1 --arch x86_64,aarch64
  osbuild-containers pin --check
  osbuild-containers pin --update fedora-bootc
  osbuild-containers pin --manifest image.json
  osbuild-containers pin --from images.txt --format lines`,
		RunE: func(cmd *cobra.Command, args []string) error { return p.run(cmd.Context(), args) },
	}
	f := cmd.Flags()
	f.StringVar(&p.file, "file", pin.FileName, "the pin file")
	f.StringSliceVar(&p.arch, "arch", nil,
		"architectures to pin for (default this machine's), in osbuild's names or Go's: x86_64, aarch64, arm64/v8, armhfp, ppc64le, s390x, riscv64; or any")
	f.StringVar(&p.from, "from", "", "also pin the references in this file: a pin file, or lines of name:tag@digest")
	f.StringVar(&p.format, "format", "", "write what is pinned to standard output as "+pin.Lines+" of name:tag@digest")
	f.BoolVar(&p.check, "check", false, "ask whether what is pinned is still true")
	f.BoolVar(&p.update, "update", false, "pin tags that have moved again, and show what changes")
	f.StringVar(&p.manifest, "manifest", "", "put what is pinned into this osbuild manifest; - is from standard input to standard output")
	f.BoolVar(&p.printed, "print", false, "print the sources and inputs that a manifest needs, or that --manifest would get, and change no manifest")
	f.BoolVar(&p.parseOnly, "parse-only", false, "show how references are understood, and do nothing else")
	return cmd
}

// run does what the flags ask for.
func (p *pinCommand) run(ctx context.Context, args []string) error {
	if err := p.combined(); err != nil {
		return refused(err)
	}
	if err := refuseFiles("pin", args); err != nil {
		return err
	}
	switch {
	case p.parseOnly:
		return p.runParse(ctx, args)
	case p.check:
		return p.runCheck(ctx, args)
	case p.update:
		return p.runUpdate(ctx, args)
	case p.manifest != "" || p.printed:
		return p.runManifest(ctx, args)
	case len(args) == 0 && p.from == "" && p.format != "":
		f, err := readPins(ctx, p.file)
		if err != nil {
			return refused(err)
		}
		return p.printLines(f)
	}
	return p.runPin(ctx, args)
}

// combined refuses flags that do not go together.
func (p *pinCommand) combined() error {
	var modes []string
	for name, on := range map[string]bool{"--check": p.check, "--update": p.update, "--parse-only": p.parseOnly} {
		if on {
			modes = append(modes, name)
		}
	}
	slices.Sort(modes)
	switch {
	case len(modes) > 1:
		return fmt.Errorf("%s are not for one call: use one of them", strings.Join(modes, " and "))
	case p.from != "" && (p.check || p.update):
		return fmt.Errorf("--from does not go with %s, which is about what is in the pin file", modes[0])
	case len(modes) == 1 && (p.manifest != "" || p.printed):
		return fmt.Errorf("%s does not go with --manifest and --print: run one after the other", modes[0])
	case p.format != "" && (p.manifest != "" || p.printed):
		return errors.New("--format is about the pin file, --manifest and --print about manifests: run one after the other")
	case p.from == "-" && p.manifest == "-":
		return errors.New("--from and --manifest cannot both be standard input")
	case p.manifest == "-" && p.flags.json && !p.printed:
		return errors.New("--manifest - writes the manifest to standard output, and --json something else: use one of them")
	case p.format != "" && len(modes) == 1:
		return fmt.Errorf("--format does not go with %s", modes[0])
	case p.format != "" && p.flags.json:
		return errors.New("--format and --json both say how to answer: use one of them")
	case p.format != "" && p.format != pin.Lines:
		return fmt.Errorf("unknown format %q: use %s", p.format, pin.Lines)
	}
	return nil
}

// resolver asks registries as the flags say.
func (p *pinCommand) resolver() *pin.Resolver {
	return &pin.Resolver{Access: p.flags.access(), Options: p.flags.options, Note: progress.NewLog(p.env.Stderr).Note}
}

// platforms are what --arch says, each once.
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

// references are what the arguments and --from name, each once.
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
			progress.NewLog(p.env.Stderr).Note("%s is the empty image, which unpack has: there is nothing to pin", text)
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
