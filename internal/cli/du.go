package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"osbuild-containers/internal/answer"
	"osbuild-containers/internal/cacheinfo"
	"osbuild-containers/internal/progress"
)

func (a *app) duCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "du",
		Short:   "Show the disk usage of a cache by image",
		GroupID: groupCache,
		Long: `du shows the disk usage of a cache. UNSHARED is the size of the layers that no
other image has, which removing the image would free. Sizes are those of blobs:
overhead of the file system and savings by reflinks are not included.`,
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
		return a.json(duAnswer(dir, u))
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
		columns := []column{{name: "IMAGE ID"}, {name: "NAME:TAG ARCH"}, {name: "SIZE", right: true}, {name: "UNSHARED", right: true}}
		b.WriteString(strings.Join(align(columns, rows), "\n") + "\n\n")
	}
	line := func(n int64, format string, args ...any) {
		fmt.Fprintf(&b, "%10s  %s\n", progress.Bytes(n), fmt.Sprintf(format, args...))
	}
	line(u.Disk, "%s, %s if nothing were shared: sharing saves %s", progress.Count(len(u.Images), "image"), progress.Bytes(u.Size), progress.Bytes(u.Saved()))
	if u.Twice > 0 {
		line(u.Twice, "of that are stored more than once, and could be shared")
	}
	if len(u.Unused) > 0 {
		line(cacheinfo.Bytes(u.Unused), "%s that no image has; gc removes them", progress.Count(len(u.Unused), "blob"))
	}
	if len(u.Partial) > 0 {
		line(cacheinfo.Bytes(u.Partial), "%s running or interrupted; fetch continues from there", progress.Count(len(u.Partial), "download"))
	}
	line(u.Total(), "in all")
	return b.String()
}

// duAnswer returns the output of du in JSON.
func duAnswer(dir string, u *cacheinfo.Usage) answer.DU {
	return answer.DU{
		Cache: dir, Images: cachedImages(u.Images), Size: u.Size, Disk: u.Disk, Saved: u.Saved(), Twice: u.Twice,
		Unused: blobsAnswer(u.Unused), Partial: blobsAnswer(u.Partial), Total: u.Total(),
	}
}
