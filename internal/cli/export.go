package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"osbuild-containers/internal/bundle"
	"osbuild-containers/internal/cache"
	"osbuild-containers/internal/cacheinfo"
	"osbuild-containers/internal/fetch"
	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/pin"
	"osbuild-containers/internal/request"
)

// exportCommand is the command export with its flags.
type exportCommand struct {
	*app
	output      string
	pins        []string
	arch        []string
	have        []string
	format      string
	compression string
	dryRun      bool
}

func (a *app) exportCommand() *cobra.Command {
	e := &exportCommand{app: a}
	cmd := &cobra.Command{
		Use:     "export -o FILE|DIR [NAME[:TAG] | ID]…",
		Short:   "Export images to a file or directory",
		GroupID: groupCarry,
		Long: `export writes images and their manifest lists to a bundle: an OCI layout in a
tar file or a directory. It exports the images of a pin file, fetching those
that are not in the cache, or the named images of the cache. By default it uses
the pin file in this directory.

The same images give the same bytes. A file is compressed if its name ends in
.gz or .zst. An interrupted export is completed by running it again. With
--have, blobs of another bundle are left out: import that bundle first. See
docs/bundles.md.`,
		Example: `  osbuild-containers export -o images.tar
  osbuild-containers export -o week2.tar --have week1.tar --pins build.lock.json
  osbuild-containers export -o - base:1 | ssh builder \
    'cat > /tmp/i.tar && osbuild-containers import /tmp/i.tar'`,
		RunE: func(cmd *cobra.Command, args []string) error { return e.run(cmd.Context(), args) },
	}
	set := cmd.Flags()
	set.StringVarP(&e.output, "output", "o", "", "`PATH` of the file or directory to write, or - for standard output")
	set.StringArrayVar(&e.pins, "pins", nil, "export the images of this pin `FILE`; may be repeated")
	alias(set, "file", "pins")
	set.StringSliceVar(&e.arch, "arch", nil, "comma-separated list of `ARCH` (default all)")
	set.StringArrayVar(&e.have, "have", nil, "leave out blobs of the bundle or other OCI layout at `PATH`; may be repeated")
	set.StringVar(&e.format, "format", "", "`FORMAT`: oci (directory) or oci-archive (file) (default oci if the output is a directory, else oci-archive)")
	set.StringVar(&e.compression, "compression", "", "`COMPRESSION` of a file: none, gzip or zstd (default by extension: .gz, .tgz, .zst, .tzst)")
	set.BoolVar(&e.dryRun, "dry-run", false, "show what would be written, and write and fetch nothing")
	return cmd
}

// compressions maps file name extensions to compressions.
var compressions = map[string]string{
	".gz": bundle.CompressionGzip, ".tgz": bundle.CompressionGzip,
	".zst": bundle.CompressionZstd, ".tzst": bundle.CompressionZstd,
}

// otherCompressions are extensions of compressed files that are not written.
var otherCompressions = []string{".br", ".bz2", ".lz", ".lz4", ".lzma", ".tbz", ".tbz2", ".txz", ".xz", ".Z", ".zip"}

// target returns the output given by the flags, and checks it before any work is done.
func (e *exportCommand) target() (bundle.Output, error) {
	o := bundle.Output{Path: e.output, Format: e.format}
	stdout := e.output == "-"
	if o.Format == "" {
		o.Format = bundle.FormatArchive
		if fi, err := os.Stat(o.Path); !stdout && (err == nil && fi.IsDir() || strings.HasSuffix(o.Path, "/")) {
			o.Format = bundle.FormatOCI
		}
	}
	switch e.compression {
	case bundle.CompressionGzip, bundle.CompressionZstd:
		o.Compression = e.compression
	case "":
		if o.Format == bundle.FormatArchive {
			o.Compression = compressions[filepath.Ext(o.Path)]
		}
	}
	var err error
	switch {
	case pin.Transport(e.output) != "":
		err = hint.Add(fmt.Errorf("-o %s: want a path", e.output), "leave out %s, and name the format with --format", pin.Transport(e.output))
	case e.output == "":
		err = errors.New("-o is missing: name the file or the directory to write, or - for standard output")
	case o.Format != bundle.FormatOCI && o.Format != bundle.FormatArchive:
		err = fmt.Errorf("the format %q is not known: use oci, a directory, or oci-archive, a file", o.Format)
	case e.compression != "" && e.compression != "none" && o.Compression == "":
		err = fmt.Errorf("the compression %q is not known: use none, gzip or zstd", e.compression)
	case e.compression == "" && o.Format == bundle.FormatArchive && slices.Contains(otherCompressions, filepath.Ext(o.Path)):
		err = hint.Add(fmt.Errorf("-o %s: want a file that ends in .tar, .tar.gz or .tar.zst", o.Path), "set --compression to keep this name")
	case o.Compression != "" && o.Format == bundle.FormatOCI:
		err = errors.New("a directory is not compressed: use --format oci-archive")
	case stdout && o.Format == bundle.FormatOCI:
		err = errors.New("a directory cannot be written to standard output: use --format oci-archive")
	case stdout && e.flags.json && !e.dryRun:
		err = errors.New("the bundle goes to standard output, where --json has its answer: leave one out")
	case stdout && !e.dryRun && isTerminal(e.env.Stdout):
		err = errors.New("standard output is a terminal: name a file with -o, or send it into a pipe")
	case !stdout:
		err = o.Check()
	}
	return o, refused(err)
}

// sameFile reports whether two paths refer to the same existing file or directory.
func sameFile(a, b string) bool {
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(one, other)
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// run is the command.
func (e *exportCommand) run(ctx context.Context, args []string) error {
	dir, err := e.cacheDir()
	if err != nil {
		return err
	}
	target, err := e.target()
	if err != nil {
		return err
	}
	if err := refuseFiles("export", args); err != nil {
		return err
	}
	have := bundle.Have{}
	for _, path := range e.have {
		if sameFile(path, target.Path) {
			return refused(fmt.Errorf("%s is both what is left out and what is written: name another output", path))
		}
		if err := have.AddLayout(ctx, path); err != nil {
			return err
		}
	}
	wanted, err := e.wanted(ctx, dir, args)
	if err != nil {
		return err
	}
	b, err := bundle.New(cache.Open(dir), wanted, have)
	if e.dryRun && errors.Is(err, fs.ErrNotExist) {
		err = hint.Add(err, "export would fetch it first; to see what would be downloaded: %s fetch --dry-run", Name)
	}
	if err != nil {
		return err
	}
	defer b.Close()
	log := e.env.Log()
	defer log.Close()
	switch {
	case e.dryRun:
	case e.output == "-":
		return e.ended(ctx, b.Stream(ctx, e.env.Stdout, target.Compression, log))
	default:
		if err := e.ended(ctx, b.Write(ctx, target, log)); err != nil {
			return err
		}
	}
	log.Close()
	if e.flags.json {
		return e.json(exportAnswer(target, b, e.dryRun))
	}
	if e.env.Quiet && !e.dryRun {
		return nil
	}
	return e.showExported(target, b, e.dryRun)
}

// ended returns the reason why the work ended: the interruption, if there was one, or err.
func (e *exportCommand) ended(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil && hint.Of(err) == (hint.Hint{}) {
		return context.Cause(ctx)
	}
	return err
}

// wanted returns the images to export, after fetching missing ones.
func (e *exportCommand) wanted(ctx context.Context, dir string, args []string) ([]bundle.Wanted, error) {
	platforms, err := parsePlatforms(e.arch)
	if err != nil {
		return nil, refused(err)
	}
	files := e.pins
	if len(args)+len(files) == 0 {
		if _, err := os.Stat(pin.FileName); errors.Is(err, fs.ErrNotExist) {
			return nil, refused(hint.Add(fmt.Errorf("nothing is named, and there is no %s here: name images of the cache, or --pins", pin.FileName),
				"see %s export --help", Name))
		}
		files = []string{pin.FileName}
	}
	fetching := &wanted{}
	var all []bundle.Wanted
	for _, path := range files {
		pins, err := e.readPins(ctx, path)
		if err != nil {
			return nil, refused(err)
		}
		if err := fetching.addPins(e.app, path, pins.Images, platforms); err != nil {
			return nil, refused(err)
		}
		for n := range pins.Images {
			if i := &pins.Images[n]; fits(i, platforms) {
				all = append(all, pinnedImage(i))
			}
		}
	}
	if !e.dryRun {
		if err := e.fetchMissing(ctx, dir, fetching); err != nil {
			return nil, err
		}
	}
	named, err := e.named(dir, args, platforms)
	if all = append(all, named...); err == nil && len(all) == 0 {
		err = refused(fmt.Errorf("nothing is to be exported: %s pins no image", strings.Join(files, ", ")))
	}
	return all, err
}

// pinnedImage returns the image of a pin: a bundle of it depends on the pin file only.
func pinnedImage(i *pin.Image) bundle.Wanted {
	name, _, _ := strings.Cut(i.Reference, "@")
	w := bundle.Wanted{ID: i.ID, Names: []bundle.Name{{Name: name, Digest: i.Pinned()}}}
	if i.Transport == "" { // a storage does not keep layers as served
		w.Manifest = i.Manifest
	}
	if i.List != "" {
		w.Lists = []digest.Digest{i.List}
	}
	return w
}

// named returns images of the cache, with all their names and lists. For a name of several images, it is the newest for
// each platform.
func (e *exportCommand) named(dir string, args []string, platforms []pin.Platform) ([]bundle.Wanted, error) {
	if len(args) == 0 {
		return nil, nil
	}
	if err := e.noCache(dir); err != nil {
		return nil, err
	}
	c := cache.Open(dir)
	images, err := e.scan(dir)
	if err != nil {
		return nil, err
	}
	if images, err = chosenOf(cacheinfo.FindNewest, ofPlatforms(images, platforms), args); err != nil {
		return nil, err
	}
	lists, err := bundle.ListsIn(c)
	if err != nil {
		return nil, err
	}
	var all []bundle.Wanted
	for _, i := range images {
		w := bundle.Wanted{ID: i.ID, Lists: lists[i.Manifest]}
		if i.List != "" {
			w.Lists = append(w.Lists, i.List)
		}
		for _, o := range i.Origins {
			if _, err := reference.ParseNormalizedNamed(o.Name); err != nil {
				continue
			}
			n := bundle.Name{Name: o.Name, Digest: o.Pinned}
			if n.Digest == "" && o.Digest != i.Manifest { // else the name may be that of a list
				n.Digest = o.Digest
			}
			w.Names = append(w.Names, n)
		}
		all = append(all, w)
	}
	return all, nil
}

// fetchMissing fetches pinned images that are not in the cache, as the command fetch does.
func (e *exportCommand) fetchMissing(ctx context.Context, dir string, w *wanted) error {
	lists, err := request.New(dir, w.lists, e.flags.options)
	if err != nil {
		return refused(err)
	}
	images, err := request.New(dir, w.images, e.flags.options)
	if err != nil {
		return refused(err)
	}
	if err := createCache(images, lists); err != nil {
		return err
	}
	log := e.env.Log()
	defer log.Close()
	failed, bytes := 0, int64(0)
	for _, r := range append(fetch.Lists(ctx, lists, log), fetch.Images(ctx, images, log)...) {
		bytes = manifest.AddSizes(bytes, r.Metadata.Bytes)
		if !r.Success { // the reason has been logged
			failed++
		}
	}
	switch {
	case ctx.Err() != nil:
		return interrupted(ctx, bytes)
	case failed > 0:
		return fmt.Errorf("%d of %d could not be fetched: nothing was exported", failed, len(lists.Items)+len(images.Items))
	}
	if err := fetch.RecordNames(ctx, dir, w.images); err != nil {
		e.env.Lines().Note("%v", err) // not fatal: the image is in the cache
	}
	return nil
}
