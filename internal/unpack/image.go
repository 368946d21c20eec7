// Package unpack turns an image into a directory or one archive.
//
// Package deploy reads, verifies and merges the layers. This package writes the result: a directory (Dir) or an archive is
// created under a temporary name next to its final one, and renamed when it is complete. However the process ends, the
// final name never refers to incomplete data. After SIGKILL a temporary directory remains, which the next Dir for the same
// name removes.
package unpack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"osbuild-containers/internal/deploy"
	"osbuild-containers/internal/image/input"
	"osbuild-containers/internal/manifest"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/request"
)

// Scratch is the name of the empty image, which is in no registry.
const Scratch = "scratch"

// An Image is an image to unpack.
type Image struct {
	Name    string
	Config  []byte         // bytes of the config
	Arch    string         // "" if the config does not say
	Created time.Time      // the Unix epoch if the config does not say
	Layers  []deploy.Layer // lowest first
	img     *input.Image   // nil for Scratch
}

// Open opens the image in a directory in dir: format, such as one in a cache.
func Open(ctx context.Context, path, name string, log *progress.Reporter) (*Image, error) {
	img, err := input.Open(ctx, input.Input{Format: request.FormatDir, Path: path, Name: name})
	if err != nil {
		return nil, err
	}
	i := &Image{Name: name, img: img}
	if i.Config, err = img.Config(ctx); err == nil {
		var platform manifest.Platform
		i.Layers, platform, err = img.DeployedLayers(ctx, log)
		i.Arch = platform.Architecture
	}
	if err != nil {
		return nil, errors.Join(err, img.Close())
	}
	if img.Manifest().Mixed {
		log.Note("image %q: %s", name, manifest.MixedNote)
	}
	i.Created = created(i.Config)
	return i, nil
}

// Empty returns the image without layers.
func Empty(arch string) *Image {
	config := fmt.Sprintf(`{"architecture":%q,"os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[]}}`, arch)
	return &Image{Name: Scratch, Config: []byte(config), Arch: arch, Created: time.Unix(0, 0)}
}

// created returns the creation time in a config.
func created(config []byte) time.Time {
	var c struct {
		Created time.Time `json:"created"`
	}
	if json.Unmarshal(config, &c) != nil || c.Created.Unix() < 0 {
		return time.Unix(0, 0)
	}
	return c.Created
}

// Close closes the image.
func (i *Image) Close() error {
	if i.img == nil {
		return nil
	}
	return i.img.Close()
}

// Size returns the size of the layers in bytes, as read.
func (i *Image) Size() (bytes int64) {
	for _, l := range i.Layers {
		bytes = manifest.AddSizes(bytes, l.Size)
	}
	return bytes
}

// Count calls add for bytes read of the image's layers.
func (i *Image) Count(add func(n int64)) {
	for n := range i.Layers {
		open := i.Layers[n].Open
		i.Layers[n].Open = func() (io.ReadCloser, error) {
			r, err := open()
			if err != nil {
				return nil, err
			}
			return &counted{r, add}, nil
		}
	}
}

type counted struct {
	io.ReadCloser
	add func(n int64)
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.add(int64(n))
	return n, err
}

// named adds the name of the image to an error.
func (i *Image) named(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("image %q: %w", i.Name, err)
}

// To unpacks the image into an empty destination.
func (i *Image) To(ctx context.Context, dest deploy.Destination, opt deploy.Options, log *progress.Reporter) error {
	return i.named(deploy.To(ctx, dest, i.Layers, opt, log))
}

// Tar writes the image as one archive.
func (i *Image) Tar(ctx context.Context, w io.Writer, opt deploy.Options, log *progress.Reporter) error {
	t := newTarWriter(w)
	if err := i.To(ctx, t, opt, log); err != nil {
		return err
	}
	return t.Close()
}
