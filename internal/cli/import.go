package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"osbuild-containers/internal/answer"
	"osbuild-containers/internal/bundle"
	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/cacheinfo"
	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/pin"
)

func (a *app) importCommand() *cobra.Command {
	var o bundle.ImportOptions
	root := &rootfsFlags{}
	cmd := &cobra.Command{
		Use:     "import [--rootfs NAME[:TAG]] FILE|DIR|-",
		Short:   "Import images from a file or directory into a cache",
		GroupID: groupCarry,
		Long: `import adds all images and manifest lists of a file or directory to the cache,
where osbuild's sources find them without a network. It reads bundles written by
export, other OCI layouts, archives of docker save, and directories in the dir:
format. Archives may be compressed with gzip, zstd, xz or bzip2, and may come
from a pipe; - is standard input.

Every byte is verified, and an image is published only when it is complete. An
interrupted import is continued by running it again. Images in the cache are not
read again unless --repair is given, which replaces damaged files.

With --rootfs, a root file system, as a tar archive or a directory, becomes an
image with one layer and the given name. The same archive or directory gives the
same image. Its creation time is SOURCE_DATE_EPOCH, or else that of its newest
file.`,
		Example: `  osbuild-containers import images.tar
  docker save app:1 -o app.tar && osbuild-containers import app.tar --json
  podman save app:1 | osbuild-containers import -
  osbuild-containers import --rootfs base:1 --change CMD=/bin/sh root.tar.xz`,
		Args: arguments(1, 1, "one file or directory, or -"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := root.check(cmd.Flags().Changed); err != nil {
				return err
			}
			return a.runImport(cmd.Context(), args[0], o, root)
		},
	}
	set := cmd.Flags()
	set.BoolVar(&o.Repair, "repair", false, "replace damaged files in the cache")
	set.BoolVar(&o.DryRun, "dry-run", false, "show what would be imported, and import and verify nothing")
	set.StringVar(&root.name, "rootfs", "", "import a root file system as the image `NAME[:TAG]`")
	set.StringVar(&root.config, "config", "", "config of the image: a `FILE` with the config of an image, or only its \"config\" object")
	set.StringArrayVar(&root.changes, "change", nil, "change the config with this `INSTRUCTION` of a Containerfile, such as CMD=/bin/sh, ENV=A=b, LABEL=a=b or USER=1000; may be repeated")
	set.StringVar(&root.arch, "arch", "", "`ARCH` of the image (default this machine's)")
	return cmd
}

// runImport is the command.
func (a *app) runImport(ctx context.Context, path string, o bundle.ImportOptions, root *rootfsFlags) error {
	dir, err := a.cacheDir()
	if err != nil {
		return err
	}
	if o.Repair && o.DryRun {
		return refused(hint.Add(errors.New("--dry-run does not read what --repair would replace: leave one out"), "see %s verify, which shows what is damaged", Name))
	}
	if prefix := pin.Transport(path); prefix != "" {
		if _, err := os.Stat(path); err != nil {
			return refused(hint.Add(fmt.Errorf("%s: want a path", path), "leave out %s", prefix))
		}
	}
	log := a.env.Log()
	defer log.Close()
	var done *bundle.Imported
	switch {
	case path == "-" && a.env.StdinIsTerminal:
		return refused(errors.New("standard input is a terminal: name a file or a directory, or send the archive into a pipe"))
	case root.name != "":
		r, wrong := root.rootfs(ctx, a, path)
		if wrong != nil {
			return refused(wrong)
		}
		done, err = bundle.ImportRootfs(ctx, a.openCache(dir), r, o, log)
	case path == "-":
		done, err = bundle.ImportStream(ctx, cache.Open(dir), a.env.Stdin, o, log)
	default:
		done, err = bundle.Import(ctx, cache.Open(dir), path, o, log)
	}
	if err != nil {
		return err
	}
	log.Close()
	failed, copied := 0, int64(0)
	for _, r := range done.Results {
		copied = manifest.AddSizes(copied, r.Bytes)
		if r.State == bundle.Failed {
			failed++
		}
	}
	if ctx.Err() != nil && failed > 0 {
		return interrupted(ctx, copied)
	}
	slices.SortStableFunc(done.Results, func(a, b bundle.Result) int {
		return cmp.Or(strings.Compare(b.Kind, a.Kind), slices.Compare(a.Names, b.Names), cmp.Compare(a.ID, b.ID))
	})
	if a.flags.json {
		err = a.json(importAnswer(dir, path, done, o.DryRun))
	} else if !a.env.Quiet || o.DryRun {
		err = a.showImported(done, o.DryRun)
	}
	if err != nil || failed == 0 {
		return err
	}
	return fmt.Errorf("%d of %d could not be imported", failed, len(done.Results))
}

// importAnswer returns the output of import in JSON.
func importAnswer(dir, path string, done *bundle.Imported, dryRun bool) answer.Import {
	c := cache.Open(dir)
	a := answer.Import{Cache: dir, From: path, Format: done.Format, DryRun: dryRun, Items: []answer.ImportedItem{}}
	for n := range done.Results {
		r := &done.Results[n]
		i := answer.ImportedItem{
			Item: answer.Item{Kind: r.Kind, ID: r.ID}, Manifest: r.Manifest, Names: orEmpty(r.Names),
			State: string(r.State), Bytes: r.Bytes, Reused: r.Reused,
		}
		if r.Err != nil {
			i.Error = hint.Line(r.Err, hint.Flags)
		} else if image := cacheinfo.Read(c, r.ID); r.Kind == "image" && image != nil {
			i.Platform = image.Platform.String()
		} else if dryRun {
			i.Platform = r.Platform
		}
		a.Items = append(a.Items, i)
	}
	return a
}

// several reports whether several images have a name.
func several(all []bundle.Result, name string) bool {
	n := 0
	for i := range all {
		if all[i].Kind == "image" && slices.Contains(all[i].Names, name) {
			n++
		}
	}
	return n > 1
}

// showImported prints a line for each image and list, and one for all. Errors have been logged during the import.
func (a *app) showImported(done *bundle.Imported, dryRun bool) error {
	added, copies, reuses := string(bundle.Added), "copied", "reused"
	if dryRun {
		added, copies, reuses = "to import", "to copy", "to reuse"
	}
	state := func(s bundle.State) string {
		if s == bundle.Added {
			return added
		}
		return string(s)
	}
	columns := []column{{name: "STATE"}, {name: "KIND"}, {name: "ID"}, {name: "MANIFEST", most: 12}, {name: "NAME"}}
	var rows [][]string
	states := map[bundle.State]int{}
	var copied, reused int64
	for n := range done.Results {
		r := &done.Results[n]
		states[r.State]++
		copied, reused = manifest.AddSizes(copied, r.Bytes), manifest.AddSizes(reused, r.Reused)
		for _, name := range carriedNames(r.Names) {
			if r.Platform != "" && several(done.Results, name) {
				name += " " + strings.TrimPrefix(r.Platform, "linux/")
			}
			rows = append(rows, []string{state(r.State), r.Kind, short(r.ID), short(r.Manifest), name})
		}
	}
	if err := a.lines(columns, rows); err != nil {
		return err
	}
	var parts []string
	for _, s := range []bundle.State{bundle.Added, bundle.Cached, bundle.Failed} {
		if states[s] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", states[s], state(s)))
		}
	}
	return a.summary(parts, size{copied, copies}, size{reused, reuses})
}
