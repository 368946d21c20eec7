package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"osbuild-containers/internal/answer"
	"osbuild-containers/internal/gc"
	"osbuild-containers/internal/progress"
)

// gcCommand is the command gc with its flags.
type gcCommand struct {
	*app
	manifests, pins    []string
	olderThan, maxSize string
	dryRun             bool
	set                *pflag.FlagSet
}

func (a *app) gcCommand() *cobra.Command {
	g := &gcCommand{app: a}
	cmd := &cobra.Command{
		Use:     "gc",
		Short:   "Remove unused images and blobs from a cache",
		GroupID: groupCache,
		Long: `gc removes unused blobs, and downloads that were not resumed for a day. With
flags it also removes images: those not kept by --pins or --keep-manifest; with
--older-than, only those not used for that time; with --max-size, the least
recently used ones until the cache is small enough. Manifest lists of no
remaining image are removed, too.

Files in use by other processes are kept: a running osbuild keeps all images of
its store, and a fetch keeps unused blobs. Run gc again later. It can be killed
at any time without harm.`,
		Example: `  osbuild-containers gc --keep-manifest build.json --dry-run
  osbuild-containers gc --older-than 30d --max-size 50GB`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error { return g.run(cmd.Context()) },
	}
	set := cmd.Flags()
	g.set = set
	set.StringArrayVar(&g.manifests, "keep-manifest", nil, "keep the images of this osbuild manifest, a `FILE` or -; may be repeated")
	set.StringArrayVar(&g.pins, "pins", nil, "keep the images of this pin `FILE`; may be repeated")
	alias(set, "keep-pins", "pins")
	set.StringVar(&g.olderThan, "older-than", "", "remove images not used for this `TIME`: 12h, 30d, 8w")
	set.StringVar(&g.maxSize, "max-size", "", "remove images until the cache has at most this `SIZE`: 500MB, 20G, 1.5TiB")
	set.BoolVar(&g.dryRun, "dry-run", false, "show what would be removed, and remove nothing")
	return cmd
}

// run is the command.
func (g *gcCommand) run(ctx context.Context) error {
	dir, err := g.cacheDir()
	if err != nil {
		return err
	}
	policy, err := g.policy(ctx)
	if err != nil {
		return refused(err)
	}
	if g.noCache(dir) != nil {
		g.noteCache(dir, 0)
	}
	c, now := g.openCache(dir), time.Now()
	plan, err := gc.PlanGC(c, policy, now)
	if err != nil {
		return err
	}
	done := &gc.Collected{Plan: plan, Freed: plan.Frees}
	if !g.dryRun {
		if done, err = gc.Collect(ctx, c, plan, now); err != nil {
			return err
		}
	}
	if g.flags.json {
		return g.json(gcAnswer(dir, done, g.dryRun))
	}
	if g.env.Quiet && !g.dryRun {
		return nil
	}
	return g.print("%s", gcText(done, g.dryRun, "gc"))
}

// policy returns the policy given by the flags.
func (g *gcCommand) policy(ctx context.Context) (p gc.Policy, err error) {
	if g.set.Changed("older-than") {
		if p.Unused, err = parseDuration(g.olderThan); err != nil {
			return p, fmt.Errorf("--older-than %s: %w", g.olderThan, err)
		}
	}
	if g.set.Changed("max-size") {
		size, err := parseSize(g.maxSize)
		if err != nil {
			return p, fmt.Errorf("--max-size %s: %w", g.maxSize, err)
		}
		p.MaxSize = &size
	}
	if len(g.manifests)+len(g.pins) == 0 {
		return p, nil
	}
	p.Keep = map[digest.Digest]bool{}
	for _, path := range g.manifests {
		m, err := g.readManifest(ctx, path)
		if err != nil {
			return p, err
		}
		for _, it := range append(m.Images, m.Lists...) {
			p.Keep[it.ID] = true
		}
	}
	for _, path := range g.pins {
		file, err := g.readPins(ctx, path)
		if err != nil {
			return p, err
		}
		for n := range file.Images {
			p.Keep[file.Images[n].ID] = true
			if list := file.Images[n].List; list != "" {
				p.Keep[list] = true
			}
		}
	}
	return p, p.Check()
}

// gcText formats one line per image, followed by the sums. command is the command to run again for images in use.
func gcText(done *gc.Collected, dry bool, command string) string {
	var b strings.Builder
	went := 0
	if len(done.Images) > 0 {
		columns := []column{{name: "IMAGE ID"}, {name: "NAME:TAG ARCH"}, {name: "USED"}, {name: "SIZE", right: true}, {name: "FREES", right: true}}
		rows := make([][]string, 0, len(done.Images))
		for _, r := range done.Images {
			frees := progress.Bytes(r.Frees)
			if r.Why != "" {
				frees = "in use"
			} else {
				went++
			}
			rows = append(rows, []string{short(r.ID), cutStart(r.Title(), 34), date(r.Used), progress.Bytes(r.Size), frees})
		}
		b.WriteString(strings.Join(align(columns, rows), "\n") + "\n\n")
	}
	var parts []string
	for _, p := range []struct {
		n    int
		what string
	}{{went, "image"}, {len(done.Lists), "list"}, {len(done.Unused), "blob"}, {len(done.Partial), "interrupted download"}} {
		if p.n > 0 {
			parts = append(parts, progress.Count(p.n, p.what))
		}
	}
	verb := "freed"
	if dry {
		verb = "would come free"
	}
	if len(parts) == 0 {
		parts = []string{"nothing to remove"}
	}
	line := func(n int64, text string) {
		b.WriteString(field(fmt.Sprintf("%10s", progress.Bytes(n)), 12, text))
	}
	line(done.Freed, verb+": "+strings.Join(parts, ", "))
	line(done.Total-done.Freed, "left")
	if done.Over > 0 {
		line(done.Over, "more than --max-size is to be kept")
	}
	for _, why := range done.Busy {
		again := "run gc again later"
		if command != "gc" && slices.ContainsFunc(done.Images, func(r gc.Removal) bool { return r.Why == why }) {
			again = "run " + command + " again later"
		} else if command != "gc" {
			again = "run gc later for their room"
		}
		b.WriteString(field("", 12, why+": "+again))
	}
	for _, r := range done.Images {
		if r.Why != "" && !slices.Contains(done.Busy, r.Why) {
			b.WriteString(field("", 12, short(r.ID)+" "+r.Why))
		}
	}
	if len(done.Missing) > 0 {
		b.WriteString(field("", 12, fmt.Sprintf("%d of what is to be kept is not in the cache", len(done.Missing))))
	}
	return b.String()
}

// gcAnswer returns the output of gc in JSON.
func gcAnswer(dir string, done *gc.Collected, dry bool) answer.GC {
	a := answer.GC{
		Cache: dir, DryRun: dry, Images: []answer.RemovedImage{}, Lists: []digest.Digest{},
		Unused: blobsAnswer(done.Unused), Partial: blobsAnswer(done.Partial),
		Frees: done.Freed, Total: done.Total - done.Freed, Over: done.Over, Busy: orEmpty(done.Busy), NotFound: orEmpty(done.Missing),
	}
	for _, r := range done.Images {
		a.Images = append(a.Images, answer.RemovedImage{CachedImage: cachedImage(r.Image), Frees: r.Frees, Stayed: r.Why})
	}
	for _, l := range done.Lists {
		a.Lists = append(a.Lists, l.Digest)
	}
	return a
}
