package cli

import (
	"errors"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"osbuild-containers/internal/answer"
	"osbuild-containers/internal/cacheinfo"
	"osbuild-containers/internal/pin"
	"osbuild-containers/internal/progress"
)

// listCommand is the command list with its flags.
type listCommand struct {
	*app
	arch  []string
	quiet bool
}

func (a *app) listCommand() *cobra.Command {
	l := &listCommand{app: a}
	cmd := &cobra.Command{
		Use:     "list [NAME[:TAG] | ID]…",
		Short:   "List the images in a cache",
		GroupID: groupCache,
		Long: `list shows the images in a cache by name. Images with the same name are sorted
by creation time, then by fetch time, newest first. UNSHARED is the size of the
layers that no other image has. Each image is a line, or two on a terminal that
is too narrow.

A NAME is a whole name or its end after a slash, with or without a tag. An ID is
an image id, the digest of a manifest or manifest list, or at least the first 4
digits of one.`,
		Example: `  osbuild-containers list
  osbuild-containers list fedora-bootc:42 --cache ~/.cache/osbuild/sources
  osbuild-containers list -q --arch arm64`,
		RunE: func(_ *cobra.Command, args []string) error { return l.run(args) },
	}
	set := cmd.Flags()
	set.StringSliceVar(&l.arch, "arch", nil, "comma-separated list of `ARCH` (default all)")
	set.BoolVarP(&l.quiet, "quiet", "q", false, "print only image ids, each once")
	return cmd
}

// run is the command.
func (l *listCommand) run(args []string) error {
	dir, err := l.cacheDir()
	if err != nil {
		return err
	}
	if l.quiet && l.flags.json {
		return refused(errors.New("--quiet and --json both say what the answer is: use one of them"))
	}
	platforms, err := parsePlatforms(l.arch)
	if err != nil {
		return refused(err)
	}
	images, err := l.scan(dir)
	if err != nil {
		return err
	}
	if images, err = chosenOf(cacheinfo.Find, ofPlatforms(images, platforms), args); err != nil {
		return err
	}
	entries := cacheinfo.Entries(images)
	switch {
	case l.flags.json:
		return l.json(answer.List{Cache: dir, Images: cachedImages(imagesOf(entries))})
	case len(entries) == 0:
		return nil
	case l.quiet:
		var b strings.Builder
		for _, i := range imagesOf(entries) {
			b.WriteString(i.ID.String() + "\n")
		}
		return l.print("%s", b.String())
	}
	return l.print("%s", listText(entries, terminalWidth(l.env.Stdout)))
}

// A finder finds the images that match an argument: Find or FindNewest of package cacheinfo.
type finder func(images []*cacheinfo.Image, what string) ([]*cacheinfo.Image, error)

// ofPlatforms returns the images for any of the platforms, or all images if none are given.
func ofPlatforms(images []*cacheinfo.Image, platforms []pin.Platform) []*cacheinfo.Image {
	if len(platforms) == 0 {
		return images
	}
	return slices.DeleteFunc(slices.Clone(images), func(i *cacheinfo.Image) bool {
		return !slices.ContainsFunc(platforms, func(p pin.Platform) bool { return p.String() == i.Platform.String() })
	})
}

// chosenOf returns the images that find finds for any of the arguments, or all images if there are none.
func chosenOf(find finder, images []*cacheinfo.Image, args []string) ([]*cacheinfo.Image, error) {
	if len(args) == 0 {
		return images, nil
	}
	var chosen []*cacheinfo.Image
	for _, what := range args {
		found, err := find(images, what)
		if err != nil {
			return nil, err
		}
		chosen = append(chosen, found...)
	}
	slices.SortFunc(chosen, func(a, b *cacheinfo.Image) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return slices.Compact(chosen), nil
}

// listText formats a line for each name of each image if that fits the columns, and otherwise a line for each name
// followed by one for each of its images.
func listText(entries []cacheinfo.Entry, columns int) string {
	lines := listLines(entries)
	if columns > 0 && slices.ContainsFunc(lines, func(l string) bool { return utf8.RuneCountInString(l) > columns }) {
		return listBlocks(entries)
	}
	return strings.Join(lines, "\n") + "\n"
}

// listColumns are the columns of an image other than its name.
var listColumns = []column{
	{name: "ARCH", most: 7},
	{name: "IMAGE ID"},
	{name: "MANIFEST"},
	{name: "CREATED"},
	{name: "FETCHED"},
	{name: "SIZE", right: true},
	{name: "UNSHARED", right: true},
}

func listRow(e cacheinfo.Entry) []string {
	return []string{
		e.Arch(), short(e.ID), short(e.Manifest), date(e.Created), date(e.Fetched),
		progress.Bytes(e.Size), progress.Bytes(e.Unshared),
	}
}

// listLines formats a line for each image. Nothing is cut, since programs read it, too.
func listLines(entries []cacheinfo.Entry) []string {
	columns := append([]column{{name: "NAME:TAG"}}, append(slices.Clone(listColumns), column{})...)
	columns[1].most = 0
	rows := make([][]string, 0, len(entries))
	for _, e := range entries {
		problem := ""
		if e.Problem != "" {
			problem = "damaged: " + e.Problem
		}
		rows = append(rows, append(append([]string{e.String()}, listRow(e)...), problem))
	}
	return align(columns, rows)
}

// listBlocks formats a line for each name, followed by one for each of its images.
func listBlocks(entries []cacheinfo.Entry) string {
	rows := make([][]string, 0, len(entries))
	for _, e := range entries {
		rows = append(rows, listRow(e))
	}
	lines := align(listColumns, rows)
	var b strings.Builder
	b.WriteString("NAME:TAG\n " + lines[0] + "\n")
	for n, e := range entries {
		if n == 0 || entries[n-1].Name != e.Name {
			b.WriteString(cutStart(progress.Clean(e.String()), width) + "\n")
		}
		b.WriteString(" " + lines[n+1] + "\n")
		if e.Problem != "" {
			b.WriteString(field("   damaged:", 12, e.Problem))
		}
	}
	return b.String()
}

// imagesOf returns the images in the order of the entries, each once.
func imagesOf(entries []cacheinfo.Entry) []*cacheinfo.Image {
	images := make([]*cacheinfo.Image, 0, len(entries))
	seen := map[digest.Digest]bool{}
	for _, e := range entries {
		if !seen[e.ID] {
			images = append(images, e.Image)
		}
		seen[e.ID] = true
	}
	return images
}
