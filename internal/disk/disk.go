// Package disk writes the layers of an image as disk images: one ext4 file system, or a chain of qcow2 images with one
// for each layer, each of which is backed by the one below and has the clusters that differ.
//
// It puts together what others do: package deploy says what layers mean, ext4 writes the file system, and qcow2 the
// images. What it decides is the size, the identity of the file system, and what is in the images on top.
//
// What it promises: the file system of image k of a chain is what deploying the layers up to k gives; the same
// layers and options give the same bytes, whatever the number of processors; it needs no root, no mount and no
// other program. What it does not: it syncs nothing, and what it has written before an error is not to be used.
package disk

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"osbuild-containers/internal/deploy"
	"osbuild-containers/internal/ext4"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/qcow2"
)

// MinSize is the least size that is chosen for a file system.
const MinSize = 64 << 20

// Options are what differs from the image. The zero value has all that it needs.
type Options struct {
	// Deploy is as for a directory. In a chain, UIDs and GIDs are mapped in an image on top of the layers.
	Deploy deploy.Options

	// Size is that of the file system in bytes. 0 is a fifth more than the content needs, and at least
	// MinSize; to know that, all layers are read once more.
	Size int64

	// Seed is what UUID and hash seed of the file system are derived from, together with Time: the digest of the image.
	Seed string

	// Time is that of creation and of the last change of each inode.
	Time time.Time

	// RootPassword is the hash of a password for root, as /etc/shadow has it; "" changes nothing. In a chain it is
	// set in the image on top of the layers.
	RootPassword string
}

// A SizeError is the error of a size that is too small. Needed is one that suffices.
type SizeError struct{ Size, Needed int64 }

func (e *SizeError) Error() string {
	return fmt.Sprintf("the file system of %d bytes (%s) is too small: %d bytes (%s) are needed",
		e.Size, progress.Bytes(e.Size), e.Needed, progress.Bytes(e.Needed))
}

// WriteExt4 writes a file system with all layers into a file, which is empty and is left with the size of the file
// system; blocks that are not used are holes.
func WriteExt4(ctx context.Context, f *os.File, layers []deploy.Layer, opt Options, log *progress.Reporter) error {
	quiet := progress.NewLog(io.Discard)
	return opt.sized(layers, func(fs *ext4.FS, layers []deploy.Layer) error {
		return deploy.To(ctx, &dest{FS: fs}, layers, opt.Deploy, quiet)
	}, func(o ext4.Options) error {
		if err := errors.Join(f.Truncate(0), f.Truncate(o.Size)); err != nil {
			return err
		}
		fs, err := ext4.New(f, o)
		if err != nil {
			return err
		}
		d := &dest{FS: fs}
		if err := deploy.To(ctx, d, layers, opt.Deploy, log); err != nil {
			return err
		}
		d.lost.Report(log.Note)
		if err := fs.Sync(); err != nil || opt.RootPassword == "" {
			return err
		}
		if err := setPassword(fs, &opt, log); err != nil {
			return err
		}
		return fs.Sync()
	})
}

// ImageName returns the name of an image of a chain: that of the lowest layer has the number 0.
func ImageName(n int) string { return "layer-" + strconv.Itoa(n) + ".qcow2" }

// WriteChain writes a chain of images into an existing directory, and returns their names, from the lowest up: one for
// each layer, and one on top where a password or maps of ids are given. An image without layers has one.
func WriteChain(ctx context.Context, dir string, layers []deploy.Layer, opt Options, log *progress.Reporter) (names []string, err error) {
	quiet := progress.NewLog(io.Discard)
	plain := opt.Deploy
	plain.UIDs, plain.GIDs = nil, nil
	err = opt.sized(layers, func(fs *ext4.FS, layers []deploy.Layer) error {
		return deploy.Each(ctx, &dest{FS: fs}, layers, plain, quiet, func(int) error { return fs.Sync() })
	}, func(o ext4.Options) (err error) {
		c := &chain{dir: dir, opt: o}
		defer func() {
			if e := c.close(); err == nil {
				err = e
			}
			names = c.names
		}()
		if err := c.next(); err != nil {
			return err
		}
		d := &dest{FS: c.fs}
		err = deploy.Each(ctx, d, layers, plain, log, func(k int) error {
			if err := c.end(); err != nil || k == len(layers) {
				return err
			}
			return c.next()
		})
		if err == nil && len(layers) == 0 {
			err = c.end()
		}
		if err != nil {
			return err
		}
		d.lost.Report(log.Note)
		return opt.onTop(c, log)
	})
	return names, err
}

// onTop makes the image on top of the layers, if there is to be one.
func (o *Options) onTop(c *chain, log *progress.Reporter) error {
	maps := len(o.Deploy.UIDs)+len(o.Deploy.GIDs) > 0
	if !maps && o.RootPassword == "" {
		return nil
	}
	if err := c.next(); err != nil {
		return err
	}
	if maps {
		if err := mapIDs(c.fs, &o.Deploy); err != nil {
			return err
		}
	}
	if o.RootPassword != "" {
		if err := setPassword(c.fs, o, log); err != nil {
			return err
		}
	}
	return c.end()
}

// sized calls write with the options of a file system that is large enough. Without a size, measure first fills one
// that is not written. It gets the layers without their digests, which take a fifth of its CPU time: write verifies them.
// An error may then be of layers that are damaged, so measure verifies them to say so.
func (o *Options) sized(layers []deploy.Layer, measure func(*ext4.FS, []deploy.Layer) error, write func(ext4.Options) error) error {
	opt := ext4.Options{Size: o.Size, Time: o.Time}
	id := sha256.Sum256(fmt.Appendf(nil, "file system\x00%s\x00%d", o.Seed, o.Time.Unix()))
	copy(opt.UUID[:], id[:])
	opt.UUID[6], opt.UUID[8] = opt.UUID[6]&0x0f|0x80, opt.UUID[8]&0x3f|0x80 // version 8: of the maker's own kind
	copy(opt.HashSeed[:], id[16:])
	if o.Size == 0 {
		fs := ext4.Measure()
		if measure(fs, unverified(layers)) != nil {
			fs = ext4.Measure()
			if err := measure(fs, layers); err != nil {
				return err
			}
		}
		if err := fs.Sync(); err != nil {
			return err
		}
		opt.Size, opt.Inodes = withRoom(fs.Needed())
	}
	err := write(opt)
	full, ok := errors.AsType[*ext4.FullError](err)
	if ok && full.NeededInodes > full.Inodes && full.Needed <= opt.Size { // only inodes were too few
		opt.Inodes = full.NeededInodes
		err = write(opt)
		full, ok = errors.AsType[*ext4.FullError](err)
	}
	if ok {
		return &SizeError{opt.Size, full.Needed}
	}
	return err
}

// unverified returns the layers without their digests.
func unverified(layers []deploy.Layer) []deploy.Layer {
	layers = slices.Clone(layers)
	for i := range layers {
		layers[i].Digest, layers[i].DiffID = "", ""
	}
	return layers
}

// withRoom adds a fifth, and rounds the size.
func withRoom(size int64, inodes int) (int64, int) {
	const unit = 1 << 20
	size = (size + size/5 + unit - 1) / unit * unit
	return max(size, MinSize), inodes + inodes/5
}

// chain is a chain that is being written.
type chain struct {
	dir    string
	opt    ext4.Options
	fs     *ext4.FS
	names  []string
	files  []*os.File
	images []*qcow2.Image
}

// next begins the image on top of the others.
func (c *chain) next() error {
	n := len(c.names)
	opt := qcow2.Options{Size: c.opt.Size}
	if n > 0 {
		opt.Backing, opt.BackingName, opt.BackingFormat = c.images[n-1], c.names[n-1], "qcow2"
	}
	name := ImageName(n)
	f, err := os.OpenFile(filepath.Join(c.dir, name), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	c.files = append(c.files, f)
	image, err := qcow2.Create(f, opt)
	if err != nil {
		return err
	}
	c.names, c.images = append(c.names, name), append(c.images, image)
	if c.fs == nil {
		c.fs, err = ext4.New(image, c.opt)
		return err
	}
	c.fs.SetDevice(image)
	return nil
}

// end completes the image.
func (c *chain) end() error {
	if err := c.fs.Sync(); err != nil {
		return err
	}
	return c.images[len(c.images)-1].Close()
}

func (c *chain) close() error {
	var errs []error
	for _, f := range c.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}
