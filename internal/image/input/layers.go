package input

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync/atomic"

	"osbuild-containers/internal/layer"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/progress"
)

// DeployedLayers returns the image's layers in the form to deploy, lowest first, and the platform in its config, whose
// fields are empty if unset. A layer is opened when it is read.
func (i *Image) DeployedLayers(ctx context.Context, log *progress.Reporter) ([]layer.Blob, manifest.Platform, error) {
	var platform manifest.Platform
	raw, err := i.Config(ctx)
	if err != nil {
		return nil, platform, err
	}
	if err := json.Unmarshal(raw, &platform); err != nil {
		return nil, platform, fmt.Errorf("image %q: config: %w", i.Name(), err)
	}
	ids, err := i.Manifest().LayerDiffIDs(raw)
	if err != nil {
		return nil, platform, fmt.Errorf("image %q: %w", i.Name(), err)
	}
	blobs := i.Manifest().Layers
	var layers []layer.Blob
	for n, b := range blobs {
		var rewritten atomic.Bool
		layers = append(layers, layer.Blob{
			Digest: b.Digest, DiffID: ids[n], Size: b.Size,
			Open: func() (io.ReadCloser, error) {
				return i.Layer(ctx, n, func(file string) {
					if !rewritten.Swap(true) {
						log.Note("image %q: layer %d/%d: the storage does not keep all of its archive (map of the sparse file %q): its digest is not checked, the checksums of its files are", i.Name(), n+1, len(blobs), file)
					}
				})
			},
			Rewritten: rewritten.Load,
		})
	}
	return layers, platform.Normalize(), nil
}
