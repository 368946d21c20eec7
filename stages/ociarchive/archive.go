package ociarchive

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/pack"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/request"
)

// maxEpoch is the latest time that a tar header can hold, in the year 2242.
const maxEpoch = 1<<33 - 1

// archive packs the inputs into one file of the tree.
func archive(ctx context.Context, a *request.Arguments, log *progress.Reporter) error {
	var o options
	if err := a.DecodeOptions(&o); err != nil {
		return request.Refuse("options", "%v", err)
	}
	config, err := o.Config.image()
	if err != nil {
		return err
	}
	on := manifest.Platform{OS: "linux", Architecture: o.Architecture, Variant: o.Variant}.Normalize()
	img := pack.Image{
		Platform:    v1.Platform{Architecture: on.Architecture, Variant: on.Variant, OS: on.OS},
		Config:      config,
		Annotations: o.Annotations,
		Created:     time.Now().UTC().Truncate(time.Second),
		Compression: pack.Compression{Format: o.Compression, Level: o.Level},
	}
	if err := img.Compression.Check(); err != nil {
		return request.Refuse("options.level", "%v", err)
	}
	if a.Epoch != nil {
		if *a.Epoch < 0 || *a.Epoch > maxEpoch {
			return request.Refuse("meta.source-epoch", "is not a time that an archive can hold: it must be between 0 and 8589934591")
		}
		img.Created = time.Unix(*a.Epoch, 0).UTC()
		img.Epoch = &img.Created
	}
	list := layers(a.Inputs)
	if lower, upper, found := surprising(list); found {
		log.Note("warning: %s is below %s: layers are in the order of their names", lower, upper)
	}
	return pack.Archive(ctx, a.Tree, o.Filename, list, img, log.Note)
}

// layers returns the inputs from the lowest layer to the highest, sorted by name as osbuild's own stage does.
func layers(inputs map[string]request.Input) []pack.Layer {
	var list []pack.Layer
	for _, name := range slices.Sorted(maps.Keys(inputs)) {
		list = append(list, pack.Layer{Name: name, Path: inputs[name].Path})
	}
	return list
}

// surprising returns a layer and the one above it if the lower one has the higher number: layer.10 sorts before
// layer.2.
func surprising(layers []pack.Layer) (lower, upper string, found bool) {
	for i := 1; i < len(layers); i++ {
		lower, upper = layers[i-1].Name, layers[i].Name
		if strings.HasPrefix(lower, "layer.") && len(lower) > len(upper) {
			return lower, upper, true
		}
	}
	return "", "", false
}
