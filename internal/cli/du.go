package cli

import (
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"

	"osbuild-containers/internal/cacheinfo"
	"osbuild-containers/internal/progress"
)

func (a *app) duCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "du",
		Short:   "Say what each image adds to a cache, and what sharing saves",
		GroupID: groupCache,
		Long: `du shows what takes room in a cache. What an image ADDS are its layers that no
other image has: so much would be free without it. Counted are the bytes of
blobs; what a file system adds to that, or saves by reflinks, is not.`,
		Example: `  osbuild-containers du
  osbuild-containers du --json --cache /srv/osbuild/sources`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error { return a.du() },
	}
}

// du is the command.
func (a *app) du() error {
	dir, err := a.cacheDir()
	if err != nil {
		return err
	}
	u, err := cacheinfo.Measure(a.openCache(dir))
	if err != nil {
		return err
	}
	if u.Total() == 0 {
		a.noteCache(dir, len(u.Images))
	}
	if a.flags.json {
		return a.json(usageJSON(dir, u))
	}
	if u.Total() == 0 {
		return nil
	}
	return a.print("%s", usageText(u))
}

// usageText formats one line per image, followed by the sums.
func usageText(u *cacheinfo.Usage) string {
	var b strings.Builder
	if len(u.Images) > 0 {
		rows := make([][]string, 0, len(u.Images))
		for _, i := range u.Images {
			title := cutStart(i.Title(), 42)
			rows = append(rows, []string{short(i.ID), title, progress.Bytes(i.Size), progress.Bytes(i.Unshared)})
		}
		columns := []column{{name: "IMAGE ID"}, {name: "NAME:TAG ARCH"}, {name: "SIZE", right: true}, {name: "ADDS", right: true}}
		b.WriteString(strings.Join(align(columns, rows), "\n") + "\n\n")
	}
	line := func(n int64, format string, args ...any) {
		fmt.Fprintf(&b, "%10s  %s\n", progress.Bytes(n), fmt.Sprintf(format, args...))
	}
	line(u.Disk, "%s, %s if nothing were shared: sharing saves %s", count(len(u.Images), "image"), progress.Bytes(u.Size), progress.Bytes(u.Saved()))
	if u.Twice > 0 {
		line(u.Twice, "of that are stored more than once, and could be shared")
	}
	if len(u.Unused) > 0 {
		line(cacheinfo.Bytes(u.Unused), "%s that no image has; gc removes them", count(len(u.Unused), "blob"))
	}
	if len(u.Partial) > 0 {
		line(cacheinfo.Bytes(u.Partial), "%s running or interrupted; fetch continues from there", count(len(u.Partial), "download"))
	}
	line(u.Total(), "in all")
	return b.String()
}

// What du answers in JSON; sizes are bytes.
type (
	duAnswer struct {
		Cache   string    `json:"cache"`
		Images  []duImage `json:"images"`
		Size    int64     `json:"size"`  // of the images, each by itself
		Disk    int64     `json:"disk"`  // of the images, what they share once
		Saved   int64     `json:"saved"` // by sharing
		Twice   int64     `json:"twice"` // of disk: what is stored more than once
		Unused  duBlobs   `json:"unused"`
		Partial duBlobs   `json:"partial"`
		Total   int64     `json:"total"` // disk, unused and partial
	}
	duImage struct {
		ID       digest.Digest `json:"id"`
		Platform string        `json:"platform"`
		Names    []string      `json:"names"`
		Size     int64         `json:"size"`
		Adds     int64         `json:"adds"`
	}
	duBlobs struct {
		Blobs int   `json:"blobs"`
		Bytes int64 `json:"bytes"`
	}
)

func usageJSON(dir string, u *cacheinfo.Usage) duAnswer {
	answer := duAnswer{
		Cache: dir, Images: []duImage{}, Size: u.Size, Disk: u.Disk, Saved: u.Saved(), Twice: u.Twice,
		Unused: duBlobs{len(u.Unused), cacheinfo.Bytes(u.Unused)}, Partial: duBlobs{len(u.Partial), cacheinfo.Bytes(u.Partial)}, Total: u.Total(),
	}
	for _, i := range u.Images {
		answer.Images = append(answer.Images, duImage{i.ID, i.Platform.String(), namesOf(i), i.Size, i.Unshared})
	}
	return answer
}
