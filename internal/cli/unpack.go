package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"osbuild-containers/internal/atomicfile"
	"osbuild-containers/internal/deploy"
	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/pin"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/resolve"
	"osbuild-containers/internal/unpack"
)

// unpackCommand is the command unpack with its flags.
type unpackCommand struct {
	*app
	file      string
	arch      string
	format    string
	lastLayer string
	exclude   []string
	uidMap    []string
	gidMap    []string
	ignore    bool
	selinux   bool
	config    string
	noCache   bool
	creds     string
	dryRun    bool
	disk      diskFlags

	dest     string // absolute, or "-"
	fetched  int64  // bytes downloaded into the cache
	special  bool   // dest is a pipe or a device
	options  deploy.Options
	platform *pin.Platform // nil: that of this machine
	epoch    *time.Time    // of the environment; nil: when the image was created
}

func (a *app) unpackCommand() *cobra.Command {
	u := &unpackCommand{app: a}
	cmd := &cobra.Command{
		Use:     "unpack IMAGE DEST",
		Short:   "Unpack an image into a directory, an archive or disk images",
		GroupID: groupCarry,
		Long: `unpack writes the file system of an image, with all layers merged. IMAGE is a
reference, a name in the pin file or in the cache, an id, or scratch, the empty
image. Missing blobs are fetched into the cache, and every layer is verified. A
reference without a digest is resolved, and its digest is printed.

DEST is a new or empty directory, which gets its name when it is complete. With
--format tar it is a file, or - for standard output: one archive, with owners
and devices. With --format ext4 it is a file with a file system; with --format
qcow2, a directory with one image per layer, layer-0.qcow2 and so on, each
backed by the one below. These three need no root.

Ids are mapped by START:TARGET:COUNT: COUNT ids of the image from START on
become those from TARGET on. In a chain of qcow2 images, mapped ids and a root
password are in an additional image on top. See docs/unpack.md.`,
		Example: `  osbuild-containers unpack registry.example.com/team/base:1 rootfs
  osbuild-containers unpack base:1 root --exclude usr/share/doc --ignore-owners
  osbuild-containers unpack base:1 chain --format qcow2 --size 5GiB \
    --root-password-file password.txt
  osbuild-containers unpack base:1 - --format tar | ssh builder tar -xp -C /srv`,
		Args: arguments(2, 2, "an image and where to write it"),
		RunE: func(cmd *cobra.Command, args []string) error { return u.run(cmd.Context(), args[0], args[1]) },
	}
	set := cmd.Flags()
	set.StringVar(&u.format, "format", formatDir, "`FORMAT`: "+strings.Join(unpackFormats(), ", "))
	set.StringVar(&u.file, "pins", "", "pin `FILE` (default "+pin.FileName+", if it exists)")
	alias(set, "file", "pins")
	set.StringVar(&u.arch, "arch", "", "`ARCH` (default this machine's), as for pin")
	set.StringVar(&u.lastLayer, "last-layer", "", "unpack layers up to this `LAYER`: a number from 1, a digest or a diff ID")
	set.StringArrayVar(&u.exclude, "exclude", nil, "leave out this `PATH` or pattern; may be repeated")
	set.StringArrayVar(&u.uidMap, "uid-map", nil, "map user ids: `START:TARGET:COUNT`; may be repeated")
	set.StringArrayVar(&u.gidMap, "gid-map", nil, "map group ids: `START:TARGET:COUNT`; may be repeated")
	set.BoolVar(&u.ignore, "ignore-owners", false, "make the current user the owner of all files")
	set.BoolVar(&u.selinux, "selinux", false, "keep SELinux labels stored in the image")
	set.StringVar(&u.config, "config", "", "also write the image's config to this `FILE`")
	set.BoolVar(&u.noCache, "no-cache", false, "use a temporary cache, and remove it afterwards")
	set.StringVar(&u.creds, "creds", "", "credentials for the registry: `USER[:PASSWORD]`; prompts for a missing password")
	set.BoolVar(&u.dryRun, "dry-run", false, "show what would be fetched and written, and fetch and write nothing")
	u.disk.add(set)
	return cmd
}

const (
	formatDir = "dir"
	formatTar = "tar"
)

// unpackFormat is one of the values of --format.
type unpackFormat struct {
	name   string
	what   string
	stdout bool // DEST may be -
	check  func(path string) error
	write  func(u *unpackCommand, ctx context.Context, i *unpack.Image, log *progress.Reporter) error
}

func formats() []unpackFormat {
	return []unpackFormat{
		{formatDir, "a directory", false, unpack.CheckDir, (*unpackCommand).writeDir},
		{formatTar, "an archive", true, checkArchive, (*unpackCommand).writeTar},
		{formatExt4, "an ext4 file system", false, checkFile, (*unpackCommand).writeExt4},
		{formatQcow2, "a chain of qcow2 images", false, unpack.CheckDir, (*unpackCommand).writeQcow2},
	}
}

// checkName refuses a name that promises another format than is written.
func (u *unpackCommand) checkName(dest string) error {
	ext := filepath.Ext(dest)
	compressed := compressions[ext] != "" || slices.Contains(otherCompressions, ext)
	format := map[string]string{".tar": formatTar, ".ext4": formatExt4, ".img": formatExt4, ".qcow2": formatQcow2}[ext]
	if compressed {
		format = formatTar
	}
	switch fi, err := os.Stat(dest); {
	case err == nil && fi.IsDir():
	case compressed && u.format == formatTar:
		return hint.Add(fmt.Errorf("%s: the archive is not compressed", dest), "name it .tar, or write to - and compress what comes")
	case format != "" && !u.changed("format"):
		return hint.Add(fmt.Errorf("%s: not the name of a directory", dest), "use --format %s, or --format %s to keep this name", format, formatDir)
	}
	return nil
}

func unpackFormats() (names []string) {
	for _, f := range formats() {
		names = append(names, f.name)
	}
	return names
}

// check refuses contradictory flags before anything is done.
func (u *unpackCommand) check(dest string) (f unpackFormat, err error) {
	n := slices.IndexFunc(formats(), func(f unpackFormat) bool { return f.name == u.format })
	if n < 0 {
		return f, fmt.Errorf("the format %q is not known: use one of %s", u.format, strings.Join(unpackFormats(), ", "))
	}
	f = formats()[n]
	switch {
	case dest == "":
		return f, errors.New("DEST is empty: name what is to be written")
	case dest == "-" && !f.stdout:
		return f, hint.Add(fmt.Errorf("the format %s cannot be written to standard output", f.name), "use --format tar")
	case dest == "-" && u.dryRun:
	case dest == "-" && u.flags.json:
		return f, errors.New("the archive goes to standard output, where --json has its events: leave one out")
	case dest == "-" && isTerminal(u.env.Stdout):
		return f, errors.New("standard output is a terminal: name a file, or send it into a pipe")
	case u.noCache && (u.changed("cache") || u.changed("store")):
		return f, errors.New("--no-cache does not go with --cache and --store: leave one out")
	case u.ignore && len(u.uidMap)+len(u.gidMap) > 0:
		return f, errors.New("--ignore-owners does not go with --uid-map and --gid-map, which keep owners")
	}
	if u.dest = dest; dest != "-" {
		if err := u.checkName(dest); err != nil {
			return f, err
		}
		if u.dest, err = filepath.Abs(dest); err != nil {
			return f, err
		}
		if err := f.check(u.dest); err != nil {
			return f, err
		}
	}
	if u.config != "" {
		if err := checkFile(u.config); err != nil {
			return f, fmt.Errorf("--config: %w", err)
		}
	}
	u.options = deploy.Options{Exclude: u.exclude, IgnoreOwners: u.ignore, Labels: u.selinux}
	if u.options.UIDs, err = idRanges("--uid-map", u.uidMap); err != nil {
		return f, err
	}
	if u.options.GIDs, err = idRanges("--gid-map", u.gidMap); err != nil {
		return f, err
	}
	if u.epoch, err = sourceDateEpoch(); err != nil {
		return f, err
	}
	if u.arch != "" {
		p, err := pin.ParsePlatform(u.arch)
		if err != nil {
			return f, err
		}
		u.platform = &p
	}
	return f, u.checkDisk()
}

// idRanges parses START:TARGET:COUNT.
func idRanges(flag string, texts []string) (all []deploy.IDRange, err error) {
	for _, text := range texts {
		var n []uint32
		for part := range strings.SplitSeq(text, ":") {
			i, err := strconv.ParseUint(part, 10, 32)
			if err != nil {
				break
			}
			n = append(n, uint32(i))
		}
		if len(n) != 3 || strings.Count(text, ":") != 2 || n[2] == 0 {
			return nil, fmt.Errorf("%s: want START:TARGET:COUNT, three numbers such as 0:100000:65536, got %q", flag, text)
		}
		all = append(all, deploy.IDRange{Container: n[0], Host: n[1], Count: n[2]})
	}
	return all, nil
}

// checkFile returns an error if no regular file can be created or replaced at path, as far as known in advance.
func checkFile(path string) error {
	place, err := fileAt(path)
	if err != nil {
		return err
	}
	defer place.Close()
	if place.Stat != nil && !place.IsRegular() {
		return fmt.Errorf("%s is not a regular file", path)
	}
	return nil
}

// checkArchive is checkFile, but also accepts pipes and devices.
func checkArchive(path string) error {
	place, err := fileAt(path)
	if err != nil {
		return err
	}
	return place.Close()
}

// fileAt resolves the path of a file to write.
func fileAt(path string) (*resolve.Place, error) {
	place, err := resolve.Target(path)
	if err != nil {
		return nil, err
	}
	if place.IsDir() {
		_ = place.Close()
		return nil, fmt.Errorf("%s is a directory, want a file", path)
	}
	if err := place.CheckWritable(); err != nil {
		_ = place.Close()
		return nil, fmt.Errorf("write %s: %w", path, err)
	}
	return place, nil
}

// run is the command.
func (u *unpackCommand) run(ctx context.Context, what, dest string) (err error) {
	f, err := u.check(dest)
	if err != nil {
		return refused(err)
	}
	if err := refuseFiles("unpack", []string{what}); err != nil {
		return err
	}
	if u.creds != "" {
		if u.flags.login, err = u.login(ctx); err != nil {
			return err
		}
	}
	dir, remove, err := u.cacheToUse()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, remove()) }()
	if u.dryRun {
		err = u.runPlan(ctx, dir, what, dest, f)
		if err != nil && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	log := u.reporter()
	if u.dest == "-" {
		log = u.env.Log()
	}
	defer func() {
		log.Close()
		if u.flags.json {
			log.End()
		}
	}()
	if u.disk.warning != "" {
		log.Note("%s", u.disk.warning)
	}
	log.Unpacking()
	err = u.unpack(ctx, dir, what, f, log)
	switch {
	case err == nil || ctx.Err() == nil:
		return err
	case u.noCache:
		return context.Cause(ctx)
	}
	return interrupted(ctx, u.fetched)
}

// unpack finds the image and unpacks it.
func (u *unpackCommand) unpack(ctx context.Context, dir, what string, f unpackFormat, log *progress.Reporter) (err error) {
	i, item, err := u.image(ctx, dir, what, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, i.Close()) }()
	if i.Layers, err = u.upTo(i.Name, i.Layers); err != nil {
		return err
	}
	warnArch(i.Arch, log)
	u.options.Epoch = i.Created
	if u.epoch != nil {
		u.options.Epoch = *u.epoch
	}
	began := time.Now()
	bar := item.Unpack(digest.FromBytes(i.Config).String(), u.bytesToRead(i))
	i.Count(bar.Add)
	if err := f.write(u, ctx, i, log); err != nil {
		bar.Abandoned(hint.Line(err, hint.Flags))
		return err
	}
	bar.Unpacked(u.dest, time.Since(began))
	if u.flags.json || u.env.Quiet || u.dest == "-" || u.special { // which may be /dev/stdout
		return nil
	}
	log.Close()
	return u.print("%s unpacked to %s\n", progress.Clean(i.Name), progress.Clean(u.dest))
}

// upTo returns the layers up to that of --last-layer.
func (u *unpackCommand) upTo(name string, layers []deploy.Layer) ([]deploy.Layer, error) {
	if u.lastLayer == "" {
		return layers, nil
	}
	some, err := deploy.UpTo(layers, u.lastLayer)
	if err != nil {
		return nil, refused(fmt.Errorf("--last-layer: image %q: %w", name, err))
	}
	return some, nil
}

// warnArch logs a warning about an image for another architecture. "" is any.
func warnArch(arch string, log *progress.Reporter) {
	if arch != "" && arch != runtime.GOARCH {
		log.Note("warning: the image is for %s, this machine is %s", arch, runtime.GOARCH)
	}
}

// writeConfig writes the config of the image if requested.
func (u *unpackCommand) writeConfig(i *unpack.Image) error {
	if u.config == "" {
		return nil
	}
	if err := atomicfile.Replace(u.config, i.Config); err != nil {
		return fmt.Errorf("write the config of image %q: %w", i.Name, err)
	}
	return nil
}

func (u *unpackCommand) writeDir(ctx context.Context, i *unpack.Image, log *progress.Reporter) error {
	return u.writeInDir(i, func(d *unpack.Dir) error {
		if err := i.Dir(ctx, d, u.options, log); err != nil {
			return err
		}
		return u.setPassword(d.Path, i, log)
	})
}

// writeInDir calls write with a directory, which gets its name when it is complete.
func (u *unpackCommand) writeInDir(i *unpack.Image, write func(d *unpack.Dir) error) error {
	d, err := unpack.NewDir(u.dest)
	if err != nil {
		return err
	}
	if err = write(d); err == nil {
		err = u.writeConfig(i)
	}
	if err == nil {
		err = d.Commit()
	}
	if err != nil {
		return errors.Join(err, d.Discard())
	}
	return nil
}

func (u *unpackCommand) writeTar(ctx context.Context, i *unpack.Image, log *progress.Reporter) error {
	write := func(f io.Writer) error { return i.Tar(ctx, f, u.options, log) }
	if u.dest == "-" {
		if err := write(u.env.Stdout); err != nil {
			return err
		}
		return u.writeConfig(i)
	}
	place, err := fileAt(u.dest)
	if err != nil {
		return err
	}
	defer place.Close()
	if place.Stat == nil || place.IsRegular() {
		return u.writeFile(i, func(f *os.File) error { return write(f) })
	}
	u.special = true
	f, err := place.Open(unix.O_WRONLY)
	if err != nil {
		return err
	}
	if err := errors.Join(write(f), f.Close()); err != nil {
		return err
	}
	return u.writeConfig(i)
}

// writeFile calls write with a file, which gets its name when it is complete. A symbolic link to it is kept, and a
// device or a pipe is not replaced.
func (u *unpackCommand) writeFile(i *unpack.Image, write func(f *os.File) error) error {
	if err := checkFile(u.dest); err != nil { // it may have changed since
		return err
	}
	place, err := fileAt(u.dest)
	if err != nil {
		return err
	}
	defer place.Close()
	out, err := atomicfile.CreateIn(place.Dir, place.Base)
	if err != nil {
		return fmt.Errorf("write %s: %w", u.dest, err)
	}
	defer out.Discard()
	if err := write(out.File); err != nil {
		return err
	}
	if err := u.writeConfig(i); err != nil {
		return err
	}
	if err := out.Commit(); err != nil {
		return fmt.Errorf("write %s: %w", u.dest, err)
	}
	return nil
}
