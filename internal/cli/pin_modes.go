package cli

import (
	"context"
	"errors"
	"fmt"

	"osbuild-containers/internal/hint"
	"osbuild-containers/internal/image"
	"osbuild-containers/internal/pin"
	"osbuild-containers/internal/request"
)

// runPin pins references.
func (p *pinCommand) runPin(ctx context.Context, args []string) error {
	f, err := readOrNewPins(ctx, p.file)
	if err != nil {
		return refused(err)
	}
	images, err := p.resolve(ctx, args)
	if err != nil {
		return err
	}
	added, changed := f.Merge(images)
	if err := f.Write(p.file); err != nil {
		return err
	}
	switch {
	case p.format != "":
		return p.printLines(f)
	case p.flags.json:
		return p.json(pinAnswer{p.file, added, changed, images})
	}
	return p.showPins(images, added, changed)
}

// resolve finds what the arguments and --from name.
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
	if err != nil {
		return nil, errors.Join(err, fmt.Errorf("%s was not changed", p.file))
	}
	return images, nil
}

// printLines writes the pins as lines.
func (p *pinCommand) printLines(f *pin.File) error {
	raw, err := f.EncodeLines()
	if err != nil {
		return refused(err)
	}
	return p.print("%s", raw)
}

// runCheck asks whether pins are true.
func (p *pinCommand) runCheck(ctx context.Context, names []string) error {
	images, _, err := p.chosen(ctx, names)
	if err != nil {
		return err
	}
	all, err := p.resolver().Check(ctx, images)
	if err != nil {
		return err
	}
	worst := pin.Worst(all)
	if p.flags.json {
		err = p.json(checkAnswer{worst, all})
	} else {
		err = p.showChecks(all)
	}
	return errors.Join(err, verdict(worst))
}

// verdict returns the exit status of a check, with a hint.
func verdict(worst pin.State) error {
	switch worst {
	case pin.Gone:
		return &statusError{exitGone, hint.Add(errors.New("what is pinned is not served any more"), "pin it again, or serve it from a mirror that still has it")}
	case pin.Moved:
		return &statusError{exitMoved, hint.Add(errors.New("tags have moved"), "follow them with %s pin --update", Name)}
	case pin.Failed:
		return errors.New("not all pins could be checked")
	}
	return nil
}

// chosen are the pins that names mean.
func (p *pinCommand) chosen(ctx context.Context, names []string) ([]pin.Image, *pin.File, error) {
	f, err := readPins(ctx, p.file)
	if err != nil {
		return nil, nil, refused(err)
	}
	images, err := f.Select(names)
	return images, f, refused(err)
}

// runUpdate follows tags.
func (p *pinCommand) runUpdate(ctx context.Context, names []string) error {
	images, f, err := p.chosen(ctx, names)
	if err != nil {
		return err
	}
	changes, err := p.resolver().Update(ctx, images)
	if err != nil {
		return errors.Join(err, fmt.Errorf("%s was not changed", p.file))
	}
	now := make([]pin.Image, len(changes))
	for n := range changes {
		now[n] = changes[n].New
	}
	if _, changed := f.Merge(now); changed > 0 {
		if err := f.Write(p.file); err != nil {
			return err
		}
	}
	if p.flags.json {
		return p.json(updateAnswer{p.file, changes})
	}
	return p.showChanges(changes)
}

// runParse shows how references are understood.
func (p *pinCommand) runParse(ctx context.Context, args []string) error {
	platforms, err := p.platforms()
	if err != nil {
		return refused(err)
	}
	refs, err := p.references(ctx, args)
	if err != nil {
		return refused(err)
	}
	all := make([]parsed, len(refs))
	for n, ref := range refs {
		if all[n], err = parsedOf(p.flags.access(), ref, platforms); err != nil {
			return refused(err)
		}
	}
	if p.flags.json {
		return p.json(all)
	}
	return p.showParsed(all)
}

// parsedOf is what there is to show of a reference.
func parsedOf(a request.Access, ref pin.Reference, platforms []pin.Platform) (parsed, error) {
	s := parsed{
		Reference: ref.String(), Transport: ref.Transport, StorageLocation: ref.Location,
		Name: ref.Name, Tag: ref.Tag, Digest: ref.Digest, Locations: []string{},
	}
	for _, p := range platforms {
		s.Platforms = append(s.Platforms, p.String())
	}
	locations, err := image.Locations(ref.Target(a))
	s.Locations = append(s.Locations, locations...)
	return s, err
}
