package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/answer"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/pin"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/request"
)

// checkAnswer returns the output of pin check in JSON.
func (p *pinCommand) checkAnswer(worst pin.State, all []pin.Status) answer.PinCheck {
	a := answer.PinCheck{PinFile: p.file, State: string(worst), Images: []answer.CheckedPin{}}
	for n := range all {
		s := &all[n]
		c := answer.CheckedPin{
			Reference: s.Reference, Transport: cmp.Or(s.Transport, request.Docker), Platform: s.Platform, State: string(s.State),
			Pinned: s.Pinned, Current: s.Tag, From: s.From, Absent: s.Missing,
			Error: strings.Join(s.Errors, "\n"),
		}
		if s.Hint != "" {
			c.Error += "\n" + s.Hint
		}
		if b := s.Base; b != nil {
			c.Base = &answer.CheckedBase{Base: answer.Base{Reference: b.Name, Pinned: b.Digest}, Current: b.Now, Moved: b.Moved, Error: b.Error}
		}
		a.Images = append(a.Images, c)
	}
	return a
}

// updateAnswer returns the output of pin update in JSON.
func (p *pinCommand) updateAnswer(changes []pin.Change) answer.PinUpdate {
	a := answer.PinUpdate{PinFile: p.file, DryRun: p.dryRun, Images: []answer.UpdatedPin{}}
	for n := range changes {
		c := &changes[n]
		a.Images = append(a.Images, answer.UpdatedPin{
			Reference: c.Reference, Platform: c.Platform, Changed: c.Changed, Old: pinAnswer(&c.Old), New: pinAnswer(&c.New),
			Added: layersAnswer(c.Added), Removed: layersAnswer(c.Removed), Kept: layersAnswer(c.Kept),
		})
	}
	return a
}

// showPins lists the new pins: each reference followed by its platforms.
func (p *pinCommand) showPins(images []pin.Image, added, changed int) error {
	var b strings.Builder
	for n := range images {
		i := &images[n]
		if n == 0 || images[n-1].Reference != i.Reference || images[n-1].List != i.List {
			fmt.Fprintln(&b, i.Reference)
			if p.dryRun { // to be copied
				fmt.Fprintf(&b, "  %s\n", i.Pinned())
			} else if i.List != "" {
				fmt.Fprintf(&b, "  list %s\n", manifest.Short(i.List))
			}
			if i.From != "" {
				fmt.Fprintf(&b, "  from %s\n", i.From)
			}
		}
		mark := ""
		if i.Schema1 {
			mark = "  schema 1"
		}
		fmt.Fprintf(&b, "  %-13s manifest %s  id %s  %s  %s%s\n",
			i.Platform, manifest.Short(i.Manifest), manifest.Short(i.ID), progress.Count(len(i.Layers), "layer"), progress.Bytes(i.Size()), mark)
	}
	pinned := "pinned"
	if p.dryRun {
		pinned = "would be pinned"
	}
	fmt.Fprintf(&b, "%s: %d %s, %d new, %d changed\n", p.file, len(images), pinned, added, changed)
	return p.print("%s", b.String())
}

// showList prints a line for each image. Names are last and never cut.
func (p *pinCommand) showList(images []pin.Image) error {
	if len(images) == 0 {
		p.env.Lines().Note("nothing is pinned in %s", p.file)
		return nil
	}
	rows := make([][]string, len(images))
	for n := range images {
		i := &images[n]
		rows[n] = []string{i.Platform, manifest.Short(i.Manifest), manifest.Short(i.ID), date(i.Resolved), i.Reference}
	}
	columns := []column{{name: "PLATFORM"}, {name: "MANIFEST"}, {name: "IMAGE ID"}, {name: "PINNED"}, {name: "IMAGE"}}
	return p.print("%s\n", strings.Join(align(columns, rows), "\n"))
}

// showRemoved prints a line for each removed image, and one for all.
func (p *pinCommand) showRemoved(images []pin.Image, left int) error {
	var b strings.Builder
	for n := range images {
		fmt.Fprintf(&b, "%s  %s\n", images[n].Reference, images[n].Platform)
	}
	removed := "removed"
	if p.dryRun {
		removed = "would be removed"
	}
	fmt.Fprintf(&b, "%s: %d %s, %d left\n", p.file, len(images), removed, left)
	return p.print("%s", b.String())
}

// showChecks prints a table, with details of a pin below its line.
func (p *pinCommand) showChecks(all []pin.Status) error {
	var b strings.Builder
	line := func(state, platform, image string) { fmt.Fprintf(&b, "%-6s  %-12s  %s\n", state, platform, image) }
	if p.env.Quiet {
		all = slices.DeleteFunc(all, func(s pin.Status) bool { return s.State == pin.OK })
	}
	if len(all) > 0 {
		line("STATE", "PLATFORM", "IMAGE")
	}
	told := map[string]string{}
	for n := range all {
		s := &all[n]
		line(string(s.State), s.Platform, s.Reference)
		if place, _, _ := strings.Cut(s.Reference, "@"); s.From != "" && s.Transport == "" && !strings.HasPrefix(place+":", s.From+":") {
			fmt.Fprintf(&b, "        from %s\n", s.From)
		}
		lines := s.Lines()
		why := strings.Join(lines, "\n")
		switch first, seen := told[why]; {
		case seen && s.State == pin.Failed:
			lines = []string{"as " + first}
		case len(lines) > 0:
			told[why] = s.Reference + " for " + s.Platform
		}
		for _, text := range lines {
			fmt.Fprintf(&b, "        %s\n", progress.Clean(text))
		}
	}
	return p.print("%s", b.String())
}

// showChanges lists the old and new values of each change, with the layers.
func (p *pinCommand) showChanges(changes []pin.Change) error {
	var b strings.Builder
	same := 0
	for n := range changes {
		c := &changes[n]
		if !c.Changed {
			same++
			continue
		}
		fmt.Fprintf(&b, "%s  %s\n", c.Reference, c.Platform)
		step := func(what string, was, is digest.Digest) {
			if was != is {
				fmt.Fprintf(&b, "  %-9s %s → %s\n", what, cmp.Or(manifest.Short(was), "none"), cmp.Or(manifest.Short(is), "none"))
			}
		}
		step("list", c.Old.List, c.New.List)
		step("manifest", c.Old.Manifest, c.New.Manifest)
		step("id", c.Old.ID, c.New.ID)
		for _, l := range c.Removed {
			fmt.Fprintf(&b, "  - layer   %s  %s\n", manifest.Short(l.Digest), progress.Bytes(l.Size))
		}
		for _, l := range c.Added {
			fmt.Fprintf(&b, "  + layer   %s  %s\n", manifest.Short(l.Digest), progress.Bytes(l.Size))
		}
		fmt.Fprintf(&b, "  %s, %s\n", layers("come", c.Added), layers("stay", c.Kept))
	}
	changed := "changed"
	if p.dryRun {
		changed = "would change"
	}
	fmt.Fprintf(&b, "%s: %d %s, %d as before\n", p.file, len(changes)-same, changed, same)
	return p.print("%s", b.String())
}

// layers formats the number of layers and their size.
func layers(verb string, all []pin.Layer) string {
	var size int64
	for _, l := range all {
		size = manifest.AddSizes(size, l.Size)
	}
	if len(all) == 1 {
		verb += "s"
	}
	return fmt.Sprintf("%s %s (%s)", progress.Count(len(all), "layer"), verb, progress.Bytes(size))
}

// showParsed lists the parsed references.
func (p *pinCommand) showParsed(all []answer.ParsedReference) error {
	var b strings.Builder
	for _, r := range all {
		fmt.Fprintln(&b, r.Reference)
		line := func(what, value string) {
			if value != "" {
				fmt.Fprintf(&b, "  %-11s %s\n", what, value)
			}
		}
		registry, repository, _ := strings.Cut(r.Repository, "/")
		line("transport", r.Transport)
		line("store", r.Storage)
		line("registry", registry)
		line("repository", repository)
		line("tag", r.Tag)
		line("digest", string(r.Digest))
		line("asked for", strings.Join(r.Locations, "\n              "))
		line("platforms", strings.Join(r.Platforms, ", "))
	}
	return p.print("%s", b.String())
}
