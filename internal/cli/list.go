package cli

import (
	"slices"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/cacheinfo"
	"osbuild-containers/internal/progress"
)

func (a *app) listCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "list [NAME[:TAG] | ID]…",
		Short:   "List the images of a cache",
		GroupID: groupCache,
		Long: `list shows what images a cache holds, by name, of one name the newest first.
UNSHARED is what an image adds to the cache: its layers that no other has.

A NAME is all of a name or its end at a slash, with a tag or without; an ID is
an image id, or the digest of a manifest, or at least 4 digits one begins with.`,
		Example: `  osbuild-containers list
  osbuild-containers list fedora-bootc:42 --cache ~/.cache/osbuild/sources`,
		RunE: func(_ *cobra.Command, args []string) error { return a.list(args) },
	}
}

// list is the command.
func (a *app) list(args []string) error {
	dir, err := a.cacheDir()
	if err != nil {
		return err
	}
	images, err := a.scan(dir)
	if err != nil {
		return err
	}
	if images, err = chosenOf(images, args); err != nil {
		return err
	}
	entries := cacheinfo.Entries(images)
	if a.flags.json {
		return a.json(listAnswer{dir, imagesJSON(entries)})
	}
	if len(entries) == 0 {
		return nil
	}
	return a.print("%s", listText(entries))
}

// chosenOf are the images that any of the arguments means; all, if there are none.
func chosenOf(images []*cacheinfo.Image, args []string) ([]*cacheinfo.Image, error) {
	if len(args) == 0 {
		return images, nil
	}
	var chosen []*cacheinfo.Image
	for _, what := range args {
		found, err := cacheinfo.Find(images, what)
		if err != nil {
			return nil, err
		}
		chosen = append(chosen, found...)
	}
	slices.SortFunc(chosen, func(a, b *cacheinfo.Image) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return slices.Compact(chosen), nil
}

// listText is a line for each name and below it one for each of its images.
func listText(entries []cacheinfo.Entry) string {
	columns := []column{
		{name: "ARCH", most: 7},
		{name: "IMAGE ID"},
		{name: "MANIFEST"},
		{name: "CREATED"},
		{name: "FETCHED"},
		{name: "SIZE", right: true},
		{name: "UNSHARED", right: true},
	}
	rows := make([][]string, 0, len(entries))
	for _, e := range entries {
		rows = append(rows, []string{
			e.Arch(), short(e.ID), short(e.Manifest), date(e.Created), date(e.Fetched),
			progress.Bytes(e.Size), progress.Bytes(e.Unshared),
		})
	}
	lines := align(columns, rows)
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

// What list answers in JSON.
type (
	listAnswer struct {
		Cache  string      `json:"cache"`
		Images []imageJSON `json:"images"`
	}
	imageJSON struct {
		ID       digest.Digest  `json:"id"`
		Manifest digest.Digest  `json:"manifest,omitempty"`
		List     digest.Digest  `json:"list,omitempty"`
		Platform string         `json:"platform"`
		Names    []string       `json:"names"`
		Origins  []cache.Origin `json:"origins"`
		Created  time.Time      `json:"created,omitzero"`
		Fetched  time.Time      `json:"fetched"`
		Size     int64          `json:"size"`
		Unshared int64          `json:"unshared"`
		Problem  string         `json:"problem,omitempty"`
	}
)

// imagesJSON are the images in the order of the entries, each once.
func imagesJSON(entries []cacheinfo.Entry) []imageJSON {
	images := make([]imageJSON, 0, len(entries))
	seen := map[digest.Digest]bool{}
	for _, e := range entries {
		if !seen[e.ID] {
			images = append(images, imageOf(e.Image))
		}
		seen[e.ID] = true
	}
	return images
}

func imageOf(i *cacheinfo.Image) imageJSON {
	answer := imageJSON{
		ID: i.ID, Manifest: i.Manifest, List: i.List, Platform: i.Platform.String(),
		Names: namesOf(i), Origins: orEmpty(i.Origins),
		Created: i.Created, Fetched: i.Fetched, Size: i.Size, Unshared: i.Unshared, Problem: i.Problem,
	}
	return answer
}

// orEmpty is a list that is [] in JSON where there is nothing in it.
func orEmpty[E any](list []E) []E {
	if list == nil {
		return []E{}
	}
	return list
}

func namesOf(i *cacheinfo.Image) []string {
	names := []string{}
	for _, n := range i.Names() {
		names = append(names, n.String())
	}
	return names
}
