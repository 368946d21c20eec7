package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"osbuild-containers/internal/answer"
	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/image"
	"osbuild-containers/internal/pin"
	"osbuild-containers/internal/request"
)

// runAdd pins references.
func (p *pinCommand) runAdd(ctx context.Context, args []string) error {
	if err := refuseFiles("pin", args); err != nil {
		return err
	}
	if p.file == stdio && p.flags.json {
		return refused(errors.New("--pins - writes the pin file to standard output, and --json something else: use one of them"))
	}
	f, err := p.readOrNewPins(ctx, p.file, p.dryRun)
	if err != nil {
		return refused(err)
	}
	images, err := p.resolve(ctx, args)
	if err != nil {
		return p.unchanged(err)
	}
	added, changed := f.Merge(images)
	switch {
	case p.dryRun:
	case p.file == stdio:
		return p.print("%s", f.Encode())
	default:
		if err := f.Write(p.file); err != nil {
			return err
		}
	}
	if p.flags.json {
		return p.json(answer.PinAdd{PinFile: p.file, DryRun: p.dryRun, Added: added, Changed: changed, Images: pinsAnswer(images)})
	}
	if p.env.Quiet && !p.dryRun {
		return nil
	}
	return p.showPins(images, added, changed)
}

// unchanged returns err with a note that the pin file was not changed, if the command would have changed it.
func (p *pinCommand) unchanged(err error) error {
	if p.dryRun || p.file == stdio {
		return err
	}
	return errors.Join(err, fmt.Errorf("%s was not changed", p.file))
}

// inPlace refuses standard input as the pin file of a command that changes it.
func (p *pinCommand) inPlace(command string) error {
	if p.file != stdio {
		return nil
	}
	return refused(hint.Add(fmt.Errorf("--pins -: %s changes a pin file, want one with a name", command), "use --pins FILE"))
}

// resolve resolves the references given by the arguments and --from.
func (p *pinCommand) resolve(ctx context.Context, args []string) ([]pin.Image, error) {
	platforms, err := p.platforms()
	if err != nil {
		return nil, refused(err)
	}
	refs, err := p.references(ctx, args)
	if err != nil {
		return nil, refused(err)
	}
	wanted := make([]pin.Wanted, len(refs))
	for n, ref := range refs {
		wanted[n] = pin.Wanted{Reference: ref, Platforms: platforms}
	}
	images, err := p.resolver().Resolve(ctx, wanted)
	return images, err
}

// runList prints the pins.
func (p *pinCommand) runList(ctx context.Context, names []string) error {
	images, _, err := p.chosen(ctx, "pin list", names)
	if err != nil {
		return err
	}
	if images, err = p.forArch(images); err != nil {
		return refused(err)
	}
	if p.flags.json {
		return p.json(answer.PinList{PinFile: p.file, Images: pinsAnswer(images)})
	}
	return p.showList(images)
}

// forArch returns the images for the platforms in --arch, or all images without it.
func (p *pinCommand) forArch(images []pin.Image) ([]pin.Image, error) {
	platforms, err := parsePlatforms(p.arch)
	if err != nil {
		return nil, err
	}
	some := slices.DeleteFunc(slices.Clone(images), func(i pin.Image) bool { return !fits(&i, platforms) })
	if len(some) == 0 && len(images) > 0 {
		return nil, fmt.Errorf("%s: nothing is pinned for %s", p.file, strings.Join(p.arch, ", "))
	}
	return some, nil
}

// runExport prints the pins as lines.
func (p *pinCommand) runExport(ctx context.Context, names []string) error {
	if p.flags.json {
		return refused(hint.Add(errors.New("--json: export writes lines"), "use %s pin list --json", Name))
	}
	images, f, err := p.chosen(ctx, "pin export", names)
	if err != nil {
		return err
	}
	f.Images = images
	raw, err := f.EncodeLines()
	if err != nil {
		return refused(err)
	}
	return p.print("%s", raw)
}

// runRemove removes images from the pin file.
func (p *pinCommand) runRemove(ctx context.Context, names []string) error {
	if err := p.inPlace("remove"); err != nil {
		return err
	}
	var gone []pin.Image
	f, err := p.readPins(ctx, p.file)
	if err != nil {
		return refused(err)
	}
	for _, name := range names {
		images, err := f.Select([]string{name})
		if err == nil {
			err = oneReference(name, images)
		}
		if err == nil {
			images, err = p.forArch(images)
		}
		if err != nil {
			return refused(err)
		}
		gone = append(gone, images...)
	}
	removed := f.Remove(gone)
	if !p.dryRun {
		if err := f.Write(p.file); err != nil {
			return err
		}
	}
	if p.flags.json {
		return p.json(answer.PinRemove{PinFile: p.file, DryRun: p.dryRun, Images: pinsAnswer(removed), Left: len(f.Images)})
	}
	return p.showRemoved(removed, len(f.Images))
}

// oneReference refuses a name that matches several references.
func oneReference(name string, images []pin.Image) error {
	all := make([]string, 0, len(images))
	for n := range images {
		all = append(all, images[n].Reference)
	}
	if all = slices.Compact(all); len(all) == 1 {
		return nil
	}
	return hint.Add(&hint.List{What: fmt.Sprintf("%q could be one of several pins", name), Items: all}, "name one of them, or each")
}

// runCheck checks whether pins are still current.
func (p *pinCommand) runCheck(ctx context.Context, names []string) error {
	images, _, err := p.chosen(ctx, "pin check", names)
	if err != nil {
		return err
	}
	all, err := p.resolver().Check(ctx, images)
	if err != nil {
		return err
	}
	worst := pin.Worst(all)
	if p.flags.json {
		err = p.json(p.checkAnswer(worst, all))
	} else {
		err = p.showChecks(all)
	}
	return errors.Join(err, verdict(worst))
}

// verdict returns an error with the exit status of a check and a hint, or nil.
func verdict(worst pin.State) error {
	switch worst {
	case pin.Gone:
		return &statusError{exitGone, hint.Add(errors.New("what is pinned is no longer served"), "pin it again, or serve it from a mirror that still has it")}
	case pin.Moved:
		return &statusError{exitMoved, hint.Add(errors.New("tags have moved"), "follow them with %s pin update", Name)}
	case pin.Failed:
		return errors.New("not all pins could be checked")
	}
	return nil
}

// chosen returns the pins that match the names.
func (p *pinCommand) chosen(ctx context.Context, command string, names []string) ([]pin.Image, *pin.File, error) {
	if err := refuseFiles(command, names); err != nil {
		return nil, nil, err
	}
	f, err := p.readPins(ctx, p.file)
	if err != nil {
		return nil, nil, refused(err)
	}
	images, err := f.Select(names)
	return images, f, refused(err)
}

// runUpdate updates pins whose tags have moved.
func (p *pinCommand) runUpdate(ctx context.Context, names []string) error {
	if err := p.inPlace("update"); err != nil {
		return err
	}
	images, f, err := p.chosen(ctx, "pin update", names)
	if err != nil {
		return err
	}
	changes, err := p.resolver().Update(ctx, images)
	if err != nil {
		return p.unchanged(err)
	}
	now := make([]pin.Image, len(changes))
	for n := range changes {
		now[n] = changes[n].New
	}
	if _, changed := f.Merge(now); changed > 0 && !p.dryRun {
		if err := f.Write(p.file); err != nil {
			return err
		}
	}
	if p.flags.json {
		return p.json(p.updateAnswer(changes))
	}
	if p.env.Quiet && !p.dryRun {
		return nil
	}
	return p.showChanges(changes)
}

// runParse prints parsed references.
func (p *pinCommand) runParse(ctx context.Context, args []string) error {
	if err := refuseFiles("pin", args); err != nil {
		return err
	}
	platforms, err := p.platforms()
	if err != nil {
		return refused(err)
	}
	refs, err := p.references(ctx, args)
	if err != nil {
		return refused(err)
	}
	all := make([]answer.ParsedReference, len(refs))
	for n, ref := range refs {
		if all[n], err = parsedOf(p.flags.access(), ref, platforms); err != nil {
			return refused(err)
		}
	}
	if p.flags.json {
		return p.json(answer.PinParse{References: all})
	}
	return p.showParsed(all)
}

// parsedOf returns a parsed reference as printed.
func parsedOf(a request.Access, ref pin.Reference, platforms []pin.Platform) (answer.ParsedReference, error) {
	s := answer.ParsedReference{
		Reference: ref.String(), Transport: ref.Transport, Storage: ref.Location,
		Repository: ref.Name, Tag: ref.Tag, Digest: ref.Digest, Locations: []string{}, Platforms: []string{},
	}
	for _, p := range platforms {
		s.Platforms = append(s.Platforms, p.String())
	}
	locations, err := image.Locations(ref.Target(a))
	s.Locations = append(s.Locations, locations...)
	return s, err
}
