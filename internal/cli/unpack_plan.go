package cli

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"

	"osbuild-containers/internal/answer"
	"osbuild-containers/internal/cacheinfo"
	"osbuild-containers/internal/deploy"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/pin"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/request"
	"osbuild-containers/internal/unpack"
)

// runPlan prints what unpack would fetch and write. dest is DEST as given.
func (u *unpackCommand) runPlan(ctx context.Context, dir, what, dest string, f unpackFormat) error {
	log := u.env.Lines()
	defer log.Close()
	if u.disk.warning != "" {
		log.Note("%s", u.disk.warning)
	}
	plan := answer.UnpackPlan{Output: u.dest, Format: f.name, Size: u.disk.bytes, Config: u.config, Layers: []answer.Layer{}}
	layers, err := u.plan(ctx, dir, what, &plan.FetchPlan, log)
	if err != nil {
		return err
	}
	if plan.Cache = dir; u.noCache {
		plan.Cache = ""
	}
	for _, l := range layers {
		plan.Layers = append(plan.Layers, answer.Layer{Digest: l.Digest, Size: l.Size})
	}
	log.Close()
	if u.flags.json {
		err = u.json(plan)
	} else {
		err = u.print("%s%s", planText(&plan.FetchPlan), unpackText(&plan, f, dest))
	}
	for _, i := range plan.Items {
		if err == nil && i.Error != "" {
			err = fmt.Errorf("image %q cannot be fetched as it is now", what)
		}
	}
	return err
}

// plan adds to p what would be fetched of an image, and returns the layers that would be unpacked.
func (u *unpackCommand) plan(ctx context.Context, dir, what string, p *answer.FetchPlan, log *progress.Reporter) ([]deploy.Layer, error) {
	p.Items = []answer.PlannedItem{}
	if what == unpack.Scratch {
		return u.upTo(what, nil)
	}
	pinned, found, err := u.find(ctx, dir, what, log)
	if err != nil {
		return nil, err
	}
	if found != nil {
		p.Items = append(p.Items, cachedItem(found))
		return u.cachedLayers(ctx, dir, found.ID, found.Title(), log)
	}
	item, lists := pinned.Items(u.flags.access())
	of, err := request.New(dir, []request.Item{item}, u.flags.options)
	if err != nil {
		return nil, refused(err)
	}
	with, err := request.New(dir, lists, u.flags.options)
	if err != nil {
		return nil, refused(err)
	}
	if *p, _, err = planFetch(ctx, with, of, log); err != nil {
		return nil, err
	}
	if p.Items[len(p.Items)-1].Cached {
		return u.cachedLayers(ctx, dir, pinned.ID, pinned.Reference, log)
	}
	return u.pinnedLayers(pinned, log)
}

// cachedItem returns the plan for an image in the cache.
func cachedItem(i *cacheinfo.Image) answer.PlannedItem {
	name := cacheinfo.NoName
	if names := i.Names(); len(names) > 0 {
		name = names[0].String()
	}
	return answer.PlannedItem{
		Item: answer.Item{Kind: "image", ID: i.ID}, Reference: name, Pinned: i.Manifest, Platform: i.Platform.String(),
		Cached: true, Size: i.Size, Blobs: []answer.PlannedBlob{},
	}
}

// cachedLayers returns the layers of an image in the cache that would be unpacked.
func (u *unpackCommand) cachedLayers(ctx context.Context, dir string, id digest.Digest, name string, log *progress.Reporter) ([]deploy.Layer, error) {
	i, err := u.open(ctx, dir, id, name, log)
	if err != nil {
		return nil, err
	}
	defer i.Close()
	warnArch(i.Arch, log)
	return u.upTo(i.Name, i.Layers)
}

// pinnedLayers returns the layers of a pin that would be unpacked. A pin has no diff IDs: if --last-layer may be one, all are
// returned.
func (u *unpackCommand) pinnedLayers(i *pin.Image, log *progress.Reporter) ([]deploy.Layer, error) {
	if p, err := pin.ParsePlatform(i.Platform); err == nil {
		warnArch(p.Architecture, log)
	}
	layers := make([]deploy.Layer, 0, len(i.Layers))
	for _, l := range i.Layers {
		layers = append(layers, deploy.Layer{Digest: l.Digest, Size: l.Size})
	}
	some, err := u.upTo(i.Reference, layers)
	if err != nil && digest.Digest(u.lastLayer).Validate() == nil {
		log.Note("no layer has the digest %s: whether one has this diff id is known when the image has been fetched", u.lastLayer)
		return layers, nil
	}
	return some, err
}

// unpackText formats what would be written to dest.
func unpackText(p *answer.UnpackPlan, f unpackFormat, dest string) string {
	var bytes int64
	for _, l := range p.Layers {
		bytes = manifest.AddSizes(bytes, max(0, l.Size))
	}
	text := f.what
	if p.Size > 0 {
		text += " of " + progress.Bytes(p.Size)
	}
	text += " to write"
	switch {
	case len(p.Layers) == 0:
		text += ", without layers"
	case bytes == 0: // of schema 1, not fetched
		text += ", from " + progress.Count(len(p.Layers), "layer")
	default:
		text += ", from " + progress.Count(len(p.Layers), "layer") + " of " + progress.Bytes(bytes)
	}
	var b strings.Builder
	line := func(path, text string) {
		path = cmp.Or(map[string]string{"-": "standard output"}[path], progress.Clean(path))
		b.WriteString(cutStart(path, width-2-len(text)) + ": " + text + "\n")
	}
	line(dest, text)
	if p.Config != "" {
		line(p.Config, "the config of the image to write")
	}
	return b.String()
}
