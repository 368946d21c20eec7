// Package unpack turns an image into a directory or one archive.
//
// The merged tree is that of package deploy, which reads and verifies the layers. This
// package decides where it goes: a Dir is made beside its name and gets it when it is
// complete, and so is the file of an archive. Whatever ends the process, nothing incomplete
// has the name; only after a kill that no program can see is something left beside
// it, and the next Dir for the same name removes that.
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

// An Image is what is unpacked.
type Image struct {
	Name    string
	Config  []byte         // as the image has it
	Arch    string         // "" if the config does not say
	Created time.Time      // the time of the Unix epoch if the config does not say
	Layers  []deploy.Layer // the lowest first
	img     *input.Image   // nil: Scratch
}

// Open opens the image in a directory of the dir: format, as in a cache.
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

// Empty returns the image that has nothing.
func Empty(arch string) *Image {
	config := fmt.Sprintf(`{"architecture":%q,"os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[]}}`, arch)
	return &Image{Name: Scratch, Config: []byte(config), Arch: arch, Created: time.Unix(0, 0)}
}

// created returns when the image was made, as its config says.
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

// Size is the size of the layers, as they are read.
func (i *Image) Size() (bytes int64) {
	for _, l := range i.Layers {
		bytes = manifest.AddSizes(bytes, l.Size)
	}
	return bytes
}

// Count makes the image count what is read of its layers.
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

// To unpacks the image into a destination that is empty.
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
