package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/fetch"
	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/request"
)

// fetchCommand is the command fetch with its flags.
type fetchCommand struct {
	*app
	pins      []string
	manifests []string
	arch      []string
	plan      bool
}

func (a *app) fetchCommand() *cobra.Command {
	f := &fetchCommand{app: a}
	cmd := &cobra.Command{
		Use:     "fetch [REF…]",
		Short:   "Fetch images into a cache",
		GroupID: groupCache,
		Long: `fetch fetches images and their manifest lists into a cache, as osbuild's sources
do: those of pin files, those in the sources of osbuild manifests, and those
that references point to now. By default it uses the pin file in this directory.

Images in the cache are not fetched again, and interrupted downloads are
resumed. All bytes are verified against their digests before an image is
published.

With --json, standard output is a stream of events, one per line; see
docs/json.md. With --plan it is the plan.`,
		Example: `  osbuild-containers fetch --plan
  osbuild-containers fetch --manifest build.json --cache ~/osbuild/sources
  osbuild-containers fetch registry.example.com/team/base:1 --arch aarch64`,
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd.Context(), args) },
	}
	set := cmd.Flags()
	set.StringArrayVar(&f.pins, "pins", nil, "fetch the images of this pin `FILE`; may be repeated")
	alias(set, "file", "pins")
	set.StringArrayVar(&f.manifests, "manifest", nil, "fetch the images of this osbuild manifest, a `FILE` or -; may be repeated")
	set.StringSliceVar(&f.arch, "arch", nil, "comma-separated list of `ARCH` (default this machine's for a REF, all for a pin file)")
	set.BoolVar(&f.plan, "plan", false, "show what would be downloaded, and download nothing; same as --dry-run")
	alias(set, "dry-run", "plan")
	return cmd
}

// run is the command.
func (f *fetchCommand) run(ctx context.Context, args []string) error {
	dir, err := f.cacheDir()
	if err != nil {
		return err
	}
	if err := refuseFiles("fetch", args); err != nil {
		return err
	}
	w, err := f.wants(ctx, args)
	if err != nil {
		return err
	}
	lists, err := request.New(dir, w.lists, f.flags.options)
	if err != nil {
		return refused(err)
	}
	images, err := request.New(dir, w.images, f.flags.options)
	if err != nil {
		return refused(err)
	}
	if w.stored > 0 {
		f.env.Lines().Note("%s that osbuild takes from the containers storage of this machine: not fetched", progress.Count(w.stored, "image"))
	}
	if f.plan {
		return f.runPlan(ctx, lists, images)
	}
	return f.fetch(ctx, lists, images, w)
}

// reporter returns a reporter for a program, a terminal or a log.
func (a *app) reporter() *progress.Reporter {
	if a.flags.json {
		return progress.NewEvents(a.env.Stdout)
	}
	return a.env.Log()
}

// fetch fetches the lists, which are small, and then the images.
func (f *fetchCommand) fetch(ctx context.Context, lists, images *request.Request, w *wanted) error {
	if err := createCache(images, lists); err != nil {
		return err
	}
	log := f.reporter()
	sum := fetched{platforms: w.platforms}
	if len(lists.Items) > 0 {
		sum.add(ctx, "list", lists.Items, fetch.Lists(ctx, lists, log))
	}
	if len(images.Items) > 0 {
		sum.add(ctx, "image", images.Items, fetch.Images(ctx, images, log))
	}
	if err := fetch.RecordNames(ctx, images.Cache, sum.there(w.images)); err != nil {
		log.Note("%v", err) // not fatal: the image is in the cache
	}
	log.Close()
	log.End()
	if !f.flags.json && !f.env.Quiet {
		if err := f.showFetched(&sum); err != nil {
			return err
		}
	}
	switch {
	case ctx.Err() != nil && sum.failed > 0:
		return interrupted(ctx, sum.bytes)
	case sum.failed > 0:
		return fmt.Errorf("%d of %d could not be fetched", sum.failed, len(sum.rows))
	}
	return nil
}

// interrupted returns the error of an interrupted command that has added bytes to the cache.
func interrupted(ctx context.Context, bytes int64) error {
	return hint.Kept(context.Cause(ctx), bytes, "the cache")
}

// createCache creates the cache before anything is fetched into it.
func createCache(images, lists *request.Request) error {
	if len(images.Items)+len(lists.Items) == 0 {
		return nil
	}
	return cache.Open(images.Cache).Create()
}

// fetched sums up the results of all items.
type fetched struct {
	rows                    [][]string
	fetched, cached, failed int
	interrupted             int // of those that failed
	bytes, reused           int64
	platforms               map[digest.Digest]string // of images, by id, if known
	ok                      map[string]bool          // ids of images in the cache
}

// add adds the results of items.
func (s *fetched) add(ctx context.Context, kind string, items []request.Item, results []request.Result) {
	named := map[string]int{}
	for n := range items {
		named[items[n].Image.Name]++
	}
	if s.ok == nil {
		s.ok = map[string]bool{}
	}
	for n, r := range results {
		state := "fetched"
		switch {
		case !r.Success:
			state = "failed"
			if ctx.Err() != nil && errors.Is(r.Err, context.Cause(ctx)) {
				state = "interrupted"
				s.interrupted++
			}
			s.failed++
		case r.Metadata.Cached:
			state = "cached"
			s.cached++
		default:
			s.fetched++
		}
		if kind == "image" && r.Success {
			s.ok[r.Metadata.Checksum] = true
		}
		s.bytes = manifest.AddSizes(s.bytes, r.Metadata.Bytes)
		s.reused = manifest.AddSizes(s.reused, r.Metadata.Reused)
		name := items[n].Image.Name
		if platform := s.platforms[items[n].ID]; named[name] > 1 && platform != "" {
			name += " " + strings.TrimPrefix(platform, "linux/")
		}
		s.rows = append(s.rows, []string{state, kind, short(items[n].ID), name})
	}
}

// there returns the requested items that are now in the cache, one for each requested name.
func (s *fetched) there(items []request.Item) []request.Item {
	var there []request.Item
	for _, it := range items {
		if s.ok[it.ID.String()] {
			there = append(there, it)
		}
	}
	return there
}

// showFetched prints a line for each item, and one for all.
func (a *app) showFetched(s *fetched) error {
	if len(s.rows) == 0 {
		return a.print("nothing to fetch\n")
	}
	left := len("fetched  image  123456789012  ")
	if s.interrupted > 0 {
		left += len("interrupted") - len("fetched")
	}
	for _, row := range s.rows {
		row[3] = cutStart(progress.Clean(row[3]), width-left)
	}
	slices.SortStableFunc(s.rows, func(a, b []string) int { // lists first, as they were fetched
		return cmp.Or(strings.Compare(b[1], a[1]), strings.Compare(a[3], b[3]))
	})
	if err := a.lines([]column{{name: "STATE"}, {name: "KIND"}, {name: "ID"}, {name: "NAME"}}, s.rows); err != nil {
		return err
	}
	var parts []string
	for _, p := range []struct {
		n    int
		what string
	}{{s.fetched, "fetched"}, {s.cached, "cached"}, {s.failed - s.interrupted, "failed"}, {s.interrupted, "interrupted"}} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	return a.summary(parts, size{s.bytes, "downloaded"}, size{s.reused, "reused"})
}
