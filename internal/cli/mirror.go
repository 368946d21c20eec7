package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/mirror"
	"osbuild-containers/internal/pin"
	"osbuild-containers/internal/progress"
)

// mirrorCommand is the command mirror with its flags.
type mirrorCommand struct {
	*app
	file          string
	all           bool
	scoped        bool
	dryRun        bool
	destAuthfile  string
	destCertDir   string
	destTLSVerify bool
}

func (a *app) mirrorCommand() *cobra.Command {
	m := &mirrorCommand{app: a}
	cmd := &cobra.Command{
		Use:     "mirror DEST [NAME…]",
		Short:   "Copy pinned images to another registry",
		GroupID: groupCarry,
		Long: `mirror copies the images of a pin file, or those named, to a registry: manifest
lists, manifests and layers are copied byte for byte, with their digests and
tags. DEST is host[:port]/prefix; repositories keep their paths below it.

Blobs that the registry has are not sent again, and those of its other
repositories are mounted. Blobs are taken from the cache if they are there, and
are otherwise downloaded once. An interrupted run is continued by running it
again.

Standard output is a registries.conf fragment that makes all tools on a machine
use the mirror; see docs/fleet.md. With --json it is a report.`,
		Example: `  osbuild-containers mirror registry.example.com/mirror > mirror.conf
  osbuild-containers mirror localhost:5000 fedora-bootc --dest-tls-verify=false
  osbuild-containers mirror registry.example.com/mirror --all --dry-run`,
		Args: arguments(1, -1, "a registry"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return m.run(cmd.Context(), cmd.Flags(), args[0], args[1:])
		},
	}
	f := cmd.Flags()
	f.StringVar(&m.file, "pins", pin.FileName, "pin `FILE`")
	alias(f, "file", "pins")
	f.BoolVar(&m.all, "all", false, "copy all images of a manifest list, not only those that are pinned")
	f.BoolVar(&m.scoped, "scoped", false, "keep the registry name in paths below DEST")
	f.BoolVar(&m.dryRun, "dry-run", false, "show what would be sent, and send nothing")
	f.StringVar(&m.destAuthfile, "dest-authfile", "", "`FILE` with credentials for DEST (default that of --authfile)")
	f.StringVar(&m.destCertDir, "dest-cert-dir", "", "`DIR` with certificates for DEST (default that of --cert-dir)")
	f.BoolVar(&m.destTLSVerify, "dest-tls-verify", false, "require HTTPS and verify the certificate of DEST (default as --tls-verify)")
	return cmd
}

// options returns the options given by the flags.
func (m *mirrorCommand) options(set *pflag.FlagSet, dest string) (o mirror.Options, err error) {
	dir, err := m.cacheDir()
	if err != nil {
		return o, err
	}
	if o.Place, err = mirror.ParsePlace(dest); err != nil {
		return o, refused(err)
	}
	o.Place.Scoped = m.scoped
	o.Cache, o.All = cache.Open(dir), m.all
	o.Tries = m.flags.options
	o.From, o.To = m.flags.access(), m.flags.access()
	if set.Changed("dest-authfile") {
		if err := checkAuthfile("--dest-authfile", m.destAuthfile); err != nil {
			return o, err
		}
		o.To.AuthFile = m.destAuthfile
	}
	if set.Changed("dest-cert-dir") {
		if err := checkCertDir("--dest-cert-dir", m.destCertDir); err != nil {
			return o, err
		}
		o.To.CertDir = m.destCertDir
	}
	if set.Changed("dest-tls-verify") {
		o.To.TLSVerify = m.destTLSVerify
	}
	return o, nil
}

// run is the command.
func (m *mirrorCommand) run(ctx context.Context, set *pflag.FlagSet, dest string, names []string) error {
	if kindOf(dest) != "" {
		return refused(hint.Add(fmt.Errorf("%s is %s, want a registry", dest, kindOf(dest)), "use %s export to write a file or a directory", Name))
	}
	if err := refuseFiles("mirror", names); err != nil {
		return err
	}
	o, err := m.options(set, dest)
	if err != nil {
		return err
	}
	f, err := m.readPins(ctx, m.file)
	if err != nil {
		return refused(err)
	}
	pins, err := f.Select(names)
	if err != nil {
		return refused(err)
	}
	conf, err := mirror.Conf(o.Place, o.From, o.To, pins)
	if err != nil {
		return refused(err)
	}
	log := m.env.Lines()
	if !m.dryRun {
		log = m.env.Log()
	}
	do := mirror.Copy
	if m.dryRun {
		do = mirror.Plan
	}
	res, err := do(ctx, o, pins, log)
	log.Close()
	if err != nil {
		return err
	}
	return m.show(o.Place, res, conf)
}

// show prints what was done, or would be done.
func (m *mirrorCommand) show(place mirror.Place, res *mirror.Result, conf string) error {
	failed := 0
	for _, i := range res.Images {
		if i.Err != nil {
			failed++
		}
	}
	var err error
	switch {
	case m.flags.json:
		err = m.json(m.answer(place, res, conf))
	case m.dryRun:
		err = m.showPlan(res)
	case failed == 0:
		if !m.env.Quiet {
			fmt.Fprintf(m.env.Stderr, "%s in %s\n", progress.Count(len(res.Images), "reference"), place)
			fmt.Fprintf(m.env.Stderr, "%s\n", sizes(size{res.Sent, "sent"}, size{res.Mounted, "mounted"}, size{res.There, "there before"}))
		}
		err = m.print("%s", conf)
	}
	if err == nil && failed > 0 {
		err = fmt.Errorf("%d of %d could not be mirrored", failed, len(res.Images))
	}
	return err
}
