package containerdeploy

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"osbuild-containers/internal/deploy"
	"osbuild-containers/internal/image/input"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/request"
)

// run deploys the input's only image.
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
	layers, platform, err := img.DeployedLayers(ctx, log)
	if err != nil {
		return err
	}
	if layers, err = opt.upTo(layers); err != nil {
		return err
	}
	log.Note("deploy %s, image %s, %s, %s", img.Name(), img.Manifest().Config.Digest, platform.String(), count(len(layers)))
	if arch := platform.Architecture; arch != "" && arch != runtime.GOARCH {
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

// count returns the number of layers and their order, for the log.
func count(layers int) string {
	if layers == 1 {
		return "1 layer"
	}
	return fmt.Sprintf("%d layers, the uppermost first", layers)
}
