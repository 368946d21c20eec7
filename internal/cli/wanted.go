package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/inject"
	"osbuild-containers/internal/pin"
	"osbuild-containers/internal/process"
	"osbuild-containers/internal/request"
	"osbuild-containers/internal/resolve"
)

// wanted is what to fetch.
type wanted struct {
	images, lists []request.Item
	platforms     map[digest.Digest]string // of images, by id, that are pinned
	stored        int                      // images in the containers storage of this machine
}

// wants returns what the flags and arguments of fetch name.
func (f *fetchCommand) wants(ctx context.Context, args []string) (*wanted, error) {
	w := &wanted{}
	platforms, err := parsePlatforms(f.arch)
	if err != nil {
		return nil, refused(err)
	}
	files := f.pins
	if len(args)+len(f.pins)+len(f.manifests) == 0 {
		if _, err := os.Stat(pin.FileName); errors.Is(err, fs.ErrNotExist) {
			return nil, refused(hint.Add(fmt.Errorf("nothing is named, and there is no %s here: name images, --pins or --manifest", pin.FileName),
				"see %s fetch --help", Name))
		}
		files = []string{pin.FileName}
	}
	for _, path := range files {
		pins, err := f.readPins(ctx, path)
		if err != nil {
			return nil, refused(err)
		}
		if err := w.addPins(f.app, path, pins.Images, platforms); err != nil {
			return nil, refused(err)
		}
	}
	for _, path := range f.manifests {
		if err := w.addManifest(ctx, f.app, path); err != nil {
			return nil, refused(err)
		}
	}
	if len(args) == 0 {
		return w, nil
	}
	pins, err := f.resolve(ctx, args, platforms)
	if err != nil {
		return nil, err
	}
	return w, w.addPins(f.app, "", pins, nil)
}

// parsePlatforms parses the values of --arch.
func parsePlatforms(arches []string) ([]pin.Platform, error) {
	var all []pin.Platform
	for _, arch := range arches {
		p, err := pin.ParsePlatform(arch)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// addPins adds the images of a pin file, only those for the platforms if any are given.
func (w *wanted) addPins(a *app, path string, pins []pin.Image, platforms []pin.Platform) error {
	some := false
	for n := range pins {
		i := &pins[n]
		if !fits(i, platforms) {
			continue
		}
		some = true
		img, lists := i.Items(a.flags.access())
		w.images = append(w.images, img)
		if w.platforms == nil {
			w.platforms = map[digest.Digest]string{}
		}
		w.platforms[i.ID] = i.Platform
		w.lists = append(w.lists, lists...)
	}
	if !some && len(pins) > 0 {
		return fmt.Errorf("%s pins nothing for the architectures that --arch names", path)
	}
	return nil
}

// fits reports whether a pin is for one of the platforms. It returns true if none are given.
func fits(i *pin.Image, platforms []pin.Platform) bool {
	return platforms == nil || slices.ContainsFunc(platforms, func(p pin.Platform) bool { return p.String() == i.Platform })
}

// addManifest adds the images of an osbuild manifest.
func (w *wanted) addManifest(ctx context.Context, a *app, path string) error {
	m, err := a.readManifest(ctx, path)
	if err != nil {
		return err
	}
	for _, items := range [][]request.Item{m.Images, m.Lists} {
		for n := range items {
			items[n].Image.Access = a.over(items[n].Image.Access)
		}
	}
	w.images = append(w.images, m.Images...)
	w.lists = append(w.lists, m.Lists...)
	w.stored += len(m.Stored)
	return nil
}

// readManifest reads an osbuild manifest, whose images must all be pinned. It notes a manifest without containers.
func (a *app) readManifest(ctx context.Context, path string) (*inject.Manifest, error) {
	raw, err := a.readFile(ctx, path)
	if err != nil {
		return nil, err
	}
	m, err := inject.Read(raw)
	if err == nil && len(m.Unpinned) > 0 {
		err = notPinned(path, m.Unpinned)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(m.Images)+len(m.Lists)+len(m.Stored) == 0 {
		a.env.Lines().Note("%s: a manifest without containers", path)
	}
	return m, nil
}

// notPinned returns the error for references without an item in the manifest's sources.
func notPinned(path string, open []inject.Unpinned) error {
	var lines, names []string
	for _, u := range open {
		if !u.Name {
			lines = append(lines, fmt.Sprintf("%s: %s is in none of the manifest's sources", u.At, u.Key))
			continue
		}
		lines = append(lines, fmt.Sprintf("%s: image %s is not pinned", u.At, u.Key))
		name := u.Key
		if u.Stored && !strings.HasPrefix(name, "containers-storage:") {
			name = "containers-storage:" + name
		}
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	remedy := "pin it first: " + strings.Join(append([]string{Name, "pin", "manifest", path}, names...), " ")
	if len(names) == 0 {
		remedy = "make the manifest again, with the sources of all its images"
	}
	if len(lines) == 1 {
		return hint.Add(errors.New(lines[0]), "%s", remedy)
	}
	return hint.Add(&hint.List{What: "not all containers are pinned", Items: lines}, "%s", remedy)
}

// over combines the access options of a manifest with those given by flags.
func (a *app) over(in request.Access) request.Access {
	out := a.flags.access()
	out.TLSVerify = out.TLSVerify && in.TLSVerify
	return out
}

// stdio is the file name that stands for standard input when reading, and for standard output when writing.
const stdio = "-"

// readFile reads a file, or standard input for "-".
func (a *app) readFile(ctx context.Context, path string) ([]byte, error) {
	if path != stdio {
		return process.Await(ctx, func() ([]byte, error) { return os.ReadFile(path) })
	}
	if a.stdinRead {
		return nil, errors.New("- is named twice, and standard input can be read once")
	}
	a.stdinRead = true
	return process.Read(ctx, a.env.Stdin)
}

// readPins reads a pin file.
func (a *app) readPins(ctx context.Context, path string) (*pin.File, error) {
	if path != stdio {
		return process.Await(ctx, func() (*pin.File, error) { return pin.Read(path) })
	}
	raw, err := a.readFile(ctx, path)
	if err != nil {
		return nil, err
	}
	f, err := pin.Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("standard input is not a pin file: %w", err)
	}
	return f, nil
}

// readOrNewPins is readPins for a pin file to be written, unless it is only shown what would be. It returns an empty one if the file
// does not exist.
func (a *app) readOrNewPins(ctx context.Context, path string, show bool) (*pin.File, error) {
	if path == stdio {
		return pin.New(), nil
	}
	return process.Await(ctx, func() (*pin.File, error) {
		place, err := resolve.Target(path) // before any request, in case the file cannot be written
		if err != nil {
			return nil, err
		}
		defer place.Close()
		if err := place.CheckWritable(); err != nil && !show {
			return nil, fmt.Errorf("write %s: %w", path, err)
		}
		return pin.ReadOrNew(path)
	})
}

// resolve resolves references.
func (f *fetchCommand) resolve(ctx context.Context, args []string, platforms []pin.Platform) ([]pin.Image, error) {
	if len(platforms) == 0 {
		platforms = []pin.Platform{{Architecture: runtime.GOARCH}}
	}
	refs := make([]pin.Wanted, len(args))
	for n, text := range args {
		ref, err := pin.ParseReference(f.flags.access(), text)
		if err != nil {
			return nil, refused(err)
		}
		refs[n] = pin.Wanted{Reference: ref, Platforms: platforms}
	}
	r := &pin.Resolver{Access: f.flags.access(), Options: f.flags.options, Note: f.env.Lines().Note}
	return r.Resolve(ctx, refs)
}
