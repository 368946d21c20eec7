package main

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"osbuild-containers/internal/pack"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/stage"
)

// maxEpoch is the latest time that the header of a tar archive can hold, in 2242.
const maxEpoch = 1<<33 - 1

// archive packs the inputs into one file of the tree.
func archive(ctx context.Context, a *stage.Arguments, log *progress.Reporter) error {
	var o options
	if err := stage.Options(a, &o); err != nil {
		return stage.Refuse("options", err.Error())
	}
	config, err := o.Config.image()
	if err != nil {
		return err
	}
	img := pack.Image{
		Platform:    v1.Platform{Architecture: o.Architecture, Variant: o.Variant, OS: "linux"},
		Config:      config,
		Annotations: o.Annotations,
		Created:     time.Now().UTC().Truncate(time.Second),
		Compression: pack.Compression{Format: o.Compression, Level: o.Level},
	}
	if err := img.Compression.Check(); err != nil {
		return stage.Refuse("options.level", err.Error())
	}
	if a.Epoch != nil {
		if *a.Epoch < 0 || *a.Epoch > maxEpoch {
			return stage.Refuse("meta.source-epoch", "is not a time that an archive can hold: it must be between 0 and 8589934591")
		}
		img.Created = time.Unix(*a.Epoch, 0).UTC()
		img.Epoch = &img.Created
	}
	return pack.Archive(ctx, a.Tree, o.Filename, layers(a.Inputs), img, log.Note)
}

// layers are the inputs from the lowest to the highest: base, then layer.1 to the last.
func layers(inputs map[string]stage.Input) []pack.Layer {
	list := make([]pack.Layer, 0, len(inputs))
	for name, in := range inputs {
		list = append(list, pack.Layer{Name: name, Path: in.Path})
	}
	slices.SortFunc(list, func(a, b pack.Layer) int { return byNumber(a.Name, b.Name) })
	return list
}

// byNumber compares names so that layer.2 comes before layer.10.
func byNumber(a, b string) int {
	aName, aNumber := splitNumber(a)
	bName, bNumber := splitNumber(b)
	return cmp.Or(
		strings.Compare(aName, bName),
		cmp.Compare(len(aNumber), len(bNumber)), // they have no leading zeros
		strings.Compare(aNumber, bNumber))
}

// splitNumber cuts off the number at the end of a name.
func splitNumber(name string) (rest, number string) {
	rest = strings.TrimRight(name, "0123456789")
	for number = name[len(rest):]; strings.HasPrefix(number, "0"); number = number[1:] {
		rest += "0"
	}
	return rest, number
}
