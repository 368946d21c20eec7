package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"osbuild-containers/internal/answer"
	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/cacheinfo"
	"osbuild-containers/internal/hint"
)

// tagCommand is the command tag with its flags.
type tagCommand struct {
	*app
	arch   []string
	dryRun bool
}

func (a *app) tagCommand() *cobra.Command {
	t := &tagCommand{app: a}
	cmd := &cobra.Command{
		Use:     "tag NAME[:TAG] | ID NAME[:TAG]…",
		Short:   "Add names to an image in a cache",
		GroupID: groupCache,
		Long: `tag adds names to an image in a cache, for list, export and other commands of
this tool; osbuild identifies images by id. If the image is in the cache for
several platforms, all of them get the name.

A name that tag gave to another image of the same platform is moved. A name
under which an image was fetched or imported is kept, too, and then means the
newest image that has it.`,
		Example: `  osbuild-containers tag 12dcd147b9ee registry.example.com/team/base:tested
  osbuild-containers tag base:1 base:stable --arch arm64`,
		Args: arguments(2, -1, "an image and a name for it"),
		RunE: func(cmd *cobra.Command, args []string) error { return t.run(cmd.Context(), args[0], args[1:]) },
	}
	cmd.Flags().StringSliceVar(&t.arch, "arch", nil, "comma-separated list of `ARCH` (default all)")
	cmd.Flags().BoolVar(&t.dryRun, "dry-run", false, "show which images would get the name, and change nothing")
	return cmd
}

// parseTag parses a new name of an image. The default tag is latest, as in every tool.
func parseTag(text string) (cacheinfo.Name, error) {
	named, err := reference.ParseNormalizedNamed(text)
	if err == nil && !reference.IsNameOnly(named) {
		if _, ok := named.(reference.Digested); ok {
			err = errors.New("has a digest, want a name and a tag")
		}
	}
	if err != nil {
		return cacheinfo.Name{}, fmt.Errorf("name %q: %w", text, err)
	}
	return cacheinfo.ParseName(reference.TagNameOnly(named).String()), nil
}

// run is the command.
func (t *tagCommand) run(ctx context.Context, what string, args []string) error {
	dir, err := t.cacheDir()
	if err != nil {
		return err
	}
	platforms, err := parsePlatforms(t.arch)
	if err != nil {
		return refused(err)
	}
	var names []cacheinfo.Name
	for _, text := range args {
		n, err := parseTag(text)
		if err != nil {
			return refused(err)
		}
		names = append(names, n)
	}
	if err := t.noCache(dir); err != nil {
		return err
	}
	c := t.openCache(dir)
	all, err := cacheinfo.Scan(c)
	if err != nil {
		return err
	}
	images, err := cacheinfo.FindNewest(ofPlatforms(all, platforms), what)
	if err != nil {
		return err
	}
	for n, i := range images {
		switch {
		case slices.ContainsFunc(images[:n], func(o *cacheinfo.Image) bool { return samePlatform(o, i) }):
			return cacheinfo.Ambiguous(images, what)
		case i.Manifest == "":
			return hint.Add(fmt.Errorf("image %s: %s", i.ID, i.Problem), "see %s verify --help", Name)
		}
	}
	for _, i := range images {
		for _, n := range names {
			if t.dryRun {
				continue
			}
			if err := t.tag(ctx, c, all, i, n, len(images) > 1); err != nil {
				return err
			}
		}
	}
	for n, i := range images {
		if now := cacheinfo.Read(c, i.ID); now != nil {
			now.Unshared = i.Unshared
			images[n] = now
		}
	}
	return t.show(dir, images, names)
}

// tag gives an image a name. Other images of its platform lose the name if they have it from this command.
func (t *tagCommand) tag(ctx context.Context, c *cache.Cache, all []*cacheinfo.Image, i *cacheinfo.Image, name cacheinfo.Name, several bool) error {
	o := cache.Origin{Name: name.String(), Digest: i.Manifest, Transport: cache.Tagged}
	if several { // the name is of their list
		o.Pinned = pinnedBy(i)
	}
	if !slices.Contains(i.Names(), name) {
		if err := c.AddOrigin(ctx, i.ID, o); err != nil {
			return err
		}
	}
	for _, other := range all {
		if other.ID == i.ID || !samePlatform(other, i) || !slices.Contains(other.Names(), name) {
			continue
		}
		is := func(o cache.Origin) bool { return cacheinfo.ParseName(o.Name) == name }
		_, err := c.RemoveOrigins(ctx, other.ID, func(o cache.Origin) bool { return is(o) && o.Transport == cache.Tagged })
		if err != nil {
			return err
		}
		if slices.ContainsFunc(other.Origins, func(o cache.Origin) bool { return is(o) && o.Transport != cache.Tagged }) {
			t.env.Lines().Note("image %s was fetched or imported as %s, and keeps that name: the newer image is what it means", short(other.ID), name)
		}
	}
	return nil
}

// pinnedBy returns the digest of a manifest list that a name of the image is pinned to, or "".
func pinnedBy(i *cacheinfo.Image) digest.Digest {
	for _, o := range i.Origins {
		if o.Pinned != "" && o.Pinned != i.Manifest {
			return o.Pinned
		}
	}
	return ""
}

func samePlatform(a, b *cacheinfo.Image) bool { return a.Platform.String() == b.Platform.String() }

// show prints the result.
func (t *tagCommand) show(dir string, images []*cacheinfo.Image, names []cacheinfo.Name) error {
	if t.flags.json {
		a := answer.Tag{Cache: dir, DryRun: t.dryRun, Images: []answer.TaggedImage{}}
		for _, i := range images {
			a.Images = append(a.Images, answer.TaggedImage{CachedImage: cachedImage(i), Added: texts(names)})
		}
		return t.json(a)
	}
	var rows [][]string
	for _, i := range images {
		for _, n := range texts(names) {
			rows = append(rows, []string{short(i.ID), i.Platform.String(), n})
		}
	}
	err := t.lines([]column{{name: "IMAGE ID"}, {name: "PLATFORM", most: 24}, {name: "NAME"}}, rows)
	if err == nil && t.dryRun {
		t.env.Lines().Note("nothing was changed")
	}
	return err
}
