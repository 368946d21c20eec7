package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/answer"
	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/inject"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/pin"
	"osbuild-containers/internal/process"
	"osbuild-containers/internal/progress"
)

// anyPlatform is the platform of a pin for any platform.
var anyPlatform = pin.Platform{Any: true}.String()

// runManifest puts pins into a manifest, or prints what it would put there. Named images are pinned first; if the
// manifest is refused, the pin file is not changed either.
func (p *pinCommand) runManifest(ctx context.Context, args []string) error {
	path := ""
	if len(args) > 0 {
		path, args = args[0], args[1:]
	}
	if err := p.checkManifest(path, args); err != nil {
		return err
	}
	f, err := p.pinned(ctx, args)
	if err != nil {
		return err
	}
	o, err := p.injected(f)
	if err != nil {
		return refused(err)
	}
	if path == "" {
		fragments, err := inject.Fragments(o)
		if err != nil {
			return refused(err)
		}
		return p.print("%s", fragments)
	}
	result, err := p.apply(ctx, path, o)
	if err != nil {
		return refused(err)
	}
	if p.printed {
		fragments, err := result.Fragments()
		return errors.Join(err, p.print("%s", fragments))
	}
	if len(args) > 0 && !p.dryRun {
		if err := f.Write(p.file); err != nil {
			return err
		}
	}
	switch {
	case p.dryRun:
	case path == stdio:
		return p.print("%s", result.Data)
	default:
		if err := result.Save(); err != nil {
			return err
		}
	}
	return p.showManifest(path, result)
}

// checkManifest refuses contradictory arguments of the command manifest.
func (p *pinCommand) checkManifest(path string, args []string) error {
	switch {
	case path == "" && !p.printed:
		return refused(hint.Add(errors.New("no manifest is named"), "name a file, or - for standard input; see %s pin manifest --help", Name))
	case path == stdio && p.file == stdio:
		return refused(errors.New("the manifest and --pins cannot both be standard input"))
	case path == stdio && p.flags.json && !p.printed && !p.dryRun:
		return refused(errors.New("the manifest is written to standard output, where --json has its answer: leave one out"))
	case p.printed && p.dryRun:
		return refused(errors.New("--print and --dry-run both write nothing but what they show: use one of them"))
	}
	if len(args) > 0 {
		if err := p.inPlace("a REF"); err != nil {
			return err
		}
	}
	return refuseFiles("pin manifest", args)
}

// pinned returns the content of the pin file, with the images given by the arguments pinned again.
func (p *pinCommand) pinned(ctx context.Context, args []string) (*pin.File, error) {
	if len(args) == 0 {
		f, err := p.readPins(ctx, p.file)
		return f, refused(err)
	}
	f, err := p.readOrNewPins(ctx, p.file, p.dryRun || p.printed)
	if err != nil {
		return nil, refused(err)
	}
	images, err := p.resolve(ctx, args)
	if err != nil {
		return nil, p.unchanged(err)
	}
	f.Merge(images)
	return f, nil
}

// injected returns what to put into a manifest: all pins, or those for --arch.
func (p *pinCommand) injected(f *pin.File) (inject.Options, error) {
	o := inject.Options{
		Pins:     f.Images,
		Insecure: !p.flags.tlsVerify,
		Parse: func(text string) (pin.Reference, error) {
			return pin.ParseReference(p.flags.access(), text)
		},
	}
	if len(p.arch) == 0 {
		return o, nil
	}
	platforms, err := p.platforms()
	if err != nil {
		return o, err
	}
	o.Pins = nil
	exact := map[string]bool{}
	for _, i := range f.Images {
		if slices.ContainsFunc(platforms, func(a pin.Platform) bool { return a.String() == i.Platform }) {
			o.Pins = append(o.Pins, i)
			exact[i.Reference] = true
		}
	}
	for _, i := range f.Images { // pins for any platform
		if i.Platform == anyPlatform && !exact[i.Reference] {
			o.Pins = append(o.Pins, i)
		}
	}
	if len(o.Pins) == 0 {
		return o, fmt.Errorf("%s: nothing is pinned for %s", p.file, strings.Join(p.arch, ", "))
	}
	return o, nil
}

// apply reads the manifest and applies the pins.
func (p *pinCommand) apply(ctx context.Context, path string, o inject.Options) (*inject.Result, error) {
	if path != stdio {
		return process.Await(ctx, func() (*inject.Result, error) { return inject.File(path, o) })
	}
	raw, err := p.readFile(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("read standard input: %w", err)
	}
	result, err := inject.Apply(raw, o)
	if err != nil {
		return nil, fmt.Errorf("standard input: %w", err)
	}
	return result, nil
}

// showManifest prints the result for each reference.
func (p *pinCommand) showManifest(path string, r *inject.Result) error {
	if p.flags.json {
		return p.json(p.manifestAnswer(path, r))
	}
	var b strings.Builder
	same := 0
	entry := func(name, platform, old, id, at string) {
		fmt.Fprintln(&b, progress.Clean(name))
		b.WriteString(field(fmt.Sprintf("  %-13s", platform), 16, "id "+old+cmp.Or(shortID(id), id)))
		b.WriteString(field("  in", 16, at))
	}
	for _, i := range r.Pinned {
		switch old := shortID(i.Old); {
		case i.Old == i.New:
			same++
		case old == "": // a name was filled in
			entry(i.Reference, i.Platform, "", i.New, i.At)
		default:
			entry(i.Reference, i.Platform, old+" → ", i.New, i.At)
		}
	}
	for _, i := range r.Left {
		entry(cmp.Or(i.Name, "an image without a name"), "not pinned", "", i.ID, i.At)
	}
	fmt.Fprintf(&b, "%s: %s\n", path, manifestSum(r, same, p.dryRun))
	return p.print("%s", b.String())
}

// manifestAnswer returns the output of pin manifest in JSON.
func (p *pinCommand) manifestAnswer(path string, r *inject.Result) answer.PinManifest {
	a := answer.PinManifest{
		Manifest: path, PinFile: p.file, DryRun: p.dryRun, Changed: r.Changed, Images: []answer.PinnedReference{}, Unpinned: []answer.UnpinnedReference{},
	}
	for _, i := range r.Pinned {
		a.Images = append(a.Images, answer.PinnedReference{
			At: i.At, Reference: i.Reference, Platform: i.Platform, Old: i.Old, ID: digest.Digest(i.New),
		})
	}
	for _, i := range r.Left {
		a.Unpinned = append(a.Unpinned, answer.UnpinnedReference{At: i.At, ID: i.ID, Reference: i.Name})
	}
	return a
}

// shortID shortens an image id. It returns "" if id is not one.
func shortID(id string) string {
	if d := digest.Digest(id); d.Validate() == nil {
		return manifest.Short(d)
	}
	return ""
}

func manifestSum(r *inject.Result, same int, dryRun bool) string {
	if len(r.Pinned)+len(r.Left) == 0 {
		return "it refers to no images, nothing was changed"
	}
	changed := "changed"
	if dryRun {
		changed = "would change"
	}
	sum := fmt.Sprintf("%s %s, %d as before", progress.Count(len(r.Pinned)-same, "image"), changed, same)
	if len(r.Left) > 0 {
		sum += fmt.Sprintf(", %d not pinned", len(r.Left))
	}
	if r.Changed && len(r.Pinned) == same {
		sum += ", with new digests"
	}
	return sum
}
