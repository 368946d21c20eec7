package containerdeploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync/atomic"

	"osbuild-containers/internal/deploy"
	"osbuild-containers/internal/image/input"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/request"
)

// run deploys the one image of the input.
func run(ctx context.Context, a *request.Arguments, log *progress.Reporter) (err error) {
	var opt options
	if err := a.DecodeOptions(&opt); err != nil {
		return err
	}
	if err := opt.check(); err != nil {
		return err
	}
	images, err := a.Inputs["images"].Images()
	if err != nil {
		return err
	}
	if len(images) != 1 {
		return request.Refuse("inputs.images.data.archives", "must be exactly one image, got %d", len(images))
	}
	img, err := input.Open(ctx, images[0])
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, img.Close()) }()
	layers, arch, err := layersOf(ctx, img, log)
	if err != nil {
		return err
	}
	if layers, err = opt.upTo(layers); err != nil {
		return err
	}
	if arch != "" && arch != runtime.GOARCH {
		log.Note("warning: the image is for %s, this machine is %s", arch, runtime.GOARCH)
	}
	if img.Manifest().Mixed {
		log.Note("image %q: %s", img.Name(), manifest.MixedNote)
	}
	if err := deploy.Deploy(ctx, a.Tree, layers, opt.deploy(a.Epoch), log); err != nil {
		return fmt.Errorf("image %q: %w", img.Name(), err)
	}
	return nil
}

// layersOf returns the layers of the image, the lowest first, and its architecture.
func layersOf(ctx context.Context, img *input.Image, log *progress.Reporter) ([]deploy.Layer, string, error) {
	raw, err := img.Config(ctx)
	if err != nil {
		return nil, "", err
	}
	var platform manifest.Platform
	if err := json.Unmarshal(raw, &platform); err != nil {
		return nil, "", fmt.Errorf("image %q: config: %w", img.Name(), err)
	}
	ids, err := img.Manifest().LayerDiffIDs(raw)
	if err != nil {
		return nil, "", fmt.Errorf("image %q: %w", img.Name(), err)
	}
	blobs := img.Manifest().Layers
	var layers []deploy.Layer
	for n, b := range blobs {
		var rewritten atomic.Bool
		layers = append(layers, deploy.Layer{
			Digest: b.Digest, DiffID: ids[n], Size: b.Size,
			Open: func() (io.ReadCloser, error) {
				return img.Layer(ctx, n, func(file string) {
					if !rewritten.Swap(true) {
						log.Note("image %q: layer %d/%d: the storage does not keep all of its archive (map of the sparse file %q): its digest is not checked, the checksums of its files are", img.Name(), n+1, len(blobs), file)
					}
				})
			},
			Rewritten: rewritten.Load,
		})
	}
	return layers, platform.Normalize().Architecture, nil
}
