// Package disk writes the layers of an image as disk images: one ext4 file system, or a chain of one qcow2 image per layer,
// each with the layer below as its backing file.
//
// Package deploy applies the layers, ext4 writes the file system, and qcow2 the images. This package chooses the size and
// the identity of the file system, and what goes into the image on top of the chain.
//
// It guarantees that the file system of image k of a chain is what deploying the layers up to k gives; that the same layers
// and options give the same bytes, whatever the number of processors; and that it needs no root, mount or other program. It
// does not sync, and what it has written before an error is unusable.
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

// MinSize is the minimum size chosen for a file system, in bytes.
const MinSize = 64 << 20

// Options are the options of a disk image. The zero value is usable.
type Options struct {
	// Deploy is as for a directory. In a chain, UIDs and GIDs are mapped in an image on top of the layers.
	Deploy deploy.Options

	// Size is the size of the file system in bytes. 0 means a fifth more than the content needs, and at least
	// MinSize; to determine that, all layers are read twice.
	Size int64

	// Seed, usually the digest of the image, determines UUID and hash seed of the file system, together with Time.
	Seed string

	// Time is the creation time of the file system, and the change time of each inode.
	Time time.Time

	// RootPassword is the hash of root's password as in /etc/shadow; "" leaves it unchanged. In a chain, it is set
	// in the image on top of the layers.
	RootPassword string
}

// A SizeError reports a size that is too small. Needed is sufficient.
type SizeError struct{ Size, Needed int64 }

func (e *SizeError) Error() string {
	return fmt.Sprintf("the file system of %d bytes (%s) is too small: %d bytes (%s) are needed",
		e.Size, progress.Bytes(e.Size), e.Needed, progress.Bytes(e.Needed))
}

// WriteExt4 writes a file system with all layers to an empty file, which gets the size of the file system. Unused blocks
// are holes.
func WriteExt4(ctx context.Context, f *os.File, layers []deploy.Layer, opt Options, log *progress.Reporter) error {
	quiet := progress.NewLog(io.Discard)
	return opt.sized(layers, func(fs *ext4.FS, layers []deploy.Layer) error {
		return deploy.To(ctx, &dest{FS: fs}, layers, sizesOnly(opt.Deploy), quiet)
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

// imageName returns the name of image n of a chain; the lowest layer is number 0.
func imageName(n int) string { return "layer-" + strconv.Itoa(n) + ".qcow2" }

// WriteChain writes a chain of images into an existing directory and returns their names, lowest first: one for each layer,
// and one on top if a password or ID mappings are given. For an image without layers it writes one image.
func WriteChain(ctx context.Context, dir string, layers []deploy.Layer, opt Options, log *progress.Reporter) (names []string, err error) {
	quiet := progress.NewLog(io.Discard)
	plain := opt.Deploy
	plain.UIDs, plain.GIDs = nil, nil
	err = opt.sized(layers, func(fs *ext4.FS, layers []deploy.Layer) error {
		return deploy.Each(ctx, &dest{FS: fs}, layers, sizesOnly(plain), quiet, func(int) error { return fs.Sync() })
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

// onTop writes the image on top of the layers, if one is needed.
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

// sized calls write with the options of a file system that is large enough. Without a given size, measure first fills a
// file system that is not written. It gets the layers without digests, since verifying takes a fifth of its CPU time and
// write verifies them. If measure fails, it is repeated with digests, to report damaged layers as such.
func (o *Options) sized(layers []deploy.Layer, measure func(*ext4.FS, []deploy.Layer) error, write func(ext4.Options) error) error {
	opt := ext4.Options{Size: o.Size, Time: o.Time}
	id := sha256.Sum256(fmt.Appendf(nil, "file system\x00%s\x00%d", o.Seed, o.Time.Unix()))
	copy(opt.UUID[:], id[:])
	opt.UUID[6], opt.UUID[8] = opt.UUID[6]&0x0f|0x80, opt.UUID[8]&0x3f|0x80 // version 8: custom
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
	if ok && full.NeededInodes > full.Inodes && full.Needed <= opt.Size { // only the inodes did not suffice
		opt.Inodes = full.NeededInodes
		err = write(opt)
		full, ok = errors.AsType[*ext4.FullError](err)
	}
	if ok {
		return &SizeError{opt.Size, full.Needed}
	}
	return err
}

func sizesOnly(opt deploy.Options) deploy.Options {
	opt.SizesOnly = true
	return opt
}

// unverified returns the layers without their digests.
func unverified(layers []deploy.Layer) []deploy.Layer {
	layers = slices.Clone(layers)
	for i := range layers {
		layers[i].Digest, layers[i].DiffID = "", ""
	}
	return layers
}

// withRoom adds a fifth and rounds up.
func withRoom(size int64, inodes int) (int64, int) {
	const unit = 1 << 20
	size = (size + size/5 + unit - 1) / unit * unit
	return max(size, MinSize), inodes + inodes/5
}

// chain is a chain being written.
type chain struct {
	dir    string
	opt    ext4.Options
	fs     *ext4.FS
	names  []string
	files  []*os.File
	images []*qcow2.Image
}

// next starts the image on top of the existing ones.
func (c *chain) next() error {
	n := len(c.names)
	opt := qcow2.Options{Size: c.opt.Size}
	if n > 0 {
		opt.Backing, opt.BackingName, opt.BackingFormat = c.images[n-1], c.names[n-1], "qcow2"
	}
	name := imageName(n)
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

// end completes the current image.
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
