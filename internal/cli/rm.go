package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"osbuild-containers/internal/answer"
	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/cacheinfo"
	"osbuild-containers/internal/gc"
	"osbuild-containers/internal/progress"
)

// rmCommand is the command rm with its flags.
type rmCommand struct {
	*app
	arch   []string
	dryRun bool
}

func (a *app) rmCommand() *cobra.Command {
	r := &rmCommand{app: a}
	cmd := &cobra.Command{
		Use:     "rm NAME[:TAG] | ID…",
		Short:   "Remove images from a cache",
		GroupID: groupCache,
		Long: `rm removes images from a cache, with the blobs and manifest lists that no other
image needs. An ID removes the image with all its names. A NAME is removed from
all images that have it, on all platforms; images without another name are
removed. NAME and ID are as for list, and must match one name or one image.

Images in use by another process are kept, with status 1: run rm again later.`,
		Example: `  osbuild-containers rm fedora-bootc:41
  osbuild-containers rm 12dcd147b9ee --dry-run
  osbuild-containers list -q --arch s390x | xargs osbuild-containers rm`,
		Args: arguments(1, -1, "a name or an id"),
		RunE: func(cmd *cobra.Command, args []string) error { return r.run(cmd.Context(), args) },
	}
	set := cmd.Flags()
	set.StringSliceVar(&r.arch, "arch", nil, "comma-separated list of `ARCH` (default all)")
	set.BoolVar(&r.dryRun, "dry-run", false, "show what would be removed, and remove nothing")
	return cmd
}

// untagged is an image that loses names but stays.
type untagged struct {
	*cacheinfo.Image
	gone, left []cacheinfo.Name
}

// run is the command.
func (r *rmCommand) run(ctx context.Context, args []string) error {
	dir, err := r.cacheDir()
	if err != nil {
		return err
	}
	platforms, err := parsePlatforms(r.arch)
	if err != nil {
		return refused(err)
	}
	if err := r.noCache(dir); err != nil {
		return err
	}
	c, now := r.openCache(dir), time.Now()
	images, err := cacheinfo.Scan(c)
	if err != nil {
		return err
	}
	whole, names, err := removals(ofPlatforms(images, platforms), args)
	if err != nil {
		return err
	}
	done := &gc.Collected{Plan: &gc.Plan{}}
	if len(whole) > 0 {
		if done.Plan, err = gc.PlanRemove(c, images, whole, now); err != nil {
			return err
		}
		done.Freed = done.Frees
	}
	if !r.dryRun {
		if names, err = untag(ctx, c, names); err != nil {
			return err
		}
		if len(whole) > 0 {
			if done, err = gc.Collect(ctx, c, done.Plan, now); err != nil {
				return err
			}
		}
	}
	if err := r.show(dir, done, names); err != nil {
		return err
	}
	return notRemoved(done)
}

// removals returns the images to remove according to the arguments, and those that only lose names.
func removals(images []*cacheinfo.Image, args []string) (whole []*cacheinfo.Image, names []untagged, err error) {
	gone := map[*cacheinfo.Image][]cacheinfo.Name{}
	for _, what := range args {
		found, name, err := cacheinfo.FindNames(images, what)
		if err != nil {
			return nil, nil, err
		}
		for _, i := range found {
			if name == (cacheinfo.Name{}) {
				gone[i] = append(gone[i], i.Names()...)
			} else {
				gone[i] = append(gone[i], name)
			}
		}
	}
	for _, i := range images {
		if _, is := gone[i]; !is {
			continue
		}
		left := i.Without(gone[i])
		if len(left) == 0 {
			whole = append(whole, i)
			continue
		}
		u := untagged{i, i.Names(), left}
		u.gone = slices.DeleteFunc(u.gone, func(n cacheinfo.Name) bool { return slices.Contains(left, n) })
		names = append(names, u)
	}
	return whole, names, nil
}

// untag removes names from images that stay, and returns the images that had them.
func untag(ctx context.Context, c *cache.Cache, all []untagged) ([]untagged, error) {
	var did []untagged
	for _, u := range all {
		went, err := c.RemoveOrigins(ctx, u.ID, func(o cache.Origin) bool { return slices.Contains(u.gone, cacheinfo.ParseName(o.Name)) })
		if err != nil {
			return nil, err
		}
		if went {
			did = append(did, u)
		}
	}
	return did, nil
}

// notRemoved returns an error if an image was in use.
func notRemoved(done *gc.Collected) error {
	n := 0
	for _, i := range done.Images {
		if i.Why != "" {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d could not be removed: in use", n, len(done.Images))
}

// show prints the result.
func (r *rmCommand) show(dir string, done *gc.Collected, names []untagged) error {
	if r.flags.json {
		a := answer.RM{GC: gcAnswer(dir, done, r.dryRun), Untagged: []answer.UntaggedImage{}}
		for _, u := range names {
			i := answer.UntaggedImage{CachedImage: cachedImage(u.Image), Removed: texts(u.gone)}
			i.Names = texts(u.left)
			i.Origins = slices.DeleteFunc(i.Origins, func(o answer.Origin) bool { return slices.Contains(u.gone, cacheinfo.ParseName(o.Reference)) })
			a.Untagged = append(a.Untagged, i)
		}
		return r.json(a)
	}
	verb := "untagged"
	if r.dryRun {
		verb = "would untag"
	}
	var b strings.Builder
	for _, u := range names {
		for _, n := range texts(u.gone) {
			b.WriteString(progress.Clean(fmt.Sprintf("%s %s %s %s", verb, short(u.ID), n, u.Arch())) + "\n")
		}
		b.WriteString(field("", label, "it stays as "+strings.Join(texts(u.left), ", ")))
	}
	if len(done.Images) > 0 {
		b.WriteString(gcText(done, r.dryRun, "rm"))
	}
	return r.print("%s", b.String())
}

// texts formats names.
func texts(names []cacheinfo.Name) []string {
	all := make([]string, 0, len(names))
	for _, n := range names {
		all = append(all, n.String())
	}
	return all
}
