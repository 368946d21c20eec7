package skopeo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path"
	"time"

	"osbuild-containers/internal/image/input"
	"osbuild-containers/internal/image/storage"
	"osbuild-containers/internal/ocilayout"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/request"
	"osbuild-containers/internal/resolve"
)

// Types of destination.
const (
	toStorage = "containers-storage"
	toOCI     = "oci"
	toArchive = "oci-archive"
	toDir     = "dir"
)

// options are the stage's options; the schema has validated them.
type options struct {
	Destination struct {
		Type          string `json:"type"`
		Path          string `json:"path"`
		StoragePath   string `json:"storage-path"`
		StorageDriver string `json:"storage-driver"`
	} `json:"destination"`
	RemoveSignatures bool `json:"remove-signatures"`
	IgnoreOwners     bool `json:"ignore-owners"`
}

// run copies the input's images into the tree.
func run(ctx context.Context, a *request.Arguments, log *progress.Reporter) (err error) {
	var opt options
	if err := a.DecodeOptions(&opt); err != nil {
		return err
	}
	inputs, err := a.Inputs["images"].Images()
	if err != nil {
		return err
	}
	if err := opt.check(inputs); err != nil {
		return err
	}
	lists, err := readLists(a)
	if err != nil {
		return err
	}
	images := make([]*input.Image, 0, len(inputs))
	defer func() {
		for _, i := range images {
			err = errors.Join(err, i.Close())
		}
	}()
	for _, in := range inputs {
		img, err := input.Open(ctx, in)
		if err != nil {
			return err
		}
		images = append(images, img)
	}
	if err := lists.match(images); err != nil {
		return err
	}
	if opt.Destination.Type == toStorage {
		return opt.store(ctx, a, images, lists, log)
	}
	return opt.files(ctx, a, images, log)
}

// check refuses what the schema cannot express.
func (o *options) check(inputs []request.InputImage) error {
	const archives = "inputs.images.data.archives"
	d := o.Destination
	field, where := "path", d.Path
	if d.Type == toStorage {
		field, where = "storage-path", cmp.Or(d.StoragePath, defaultStorage)
	}
	if text := resolve.CheckInTree(where); text != "" {
		return request.Refuse("options.destination."+field, "%v", text)
	}
	switch n := len(inputs); {
	case o.IgnoreOwners && d.Type != toStorage:
		return request.Refuse("options.ignore-owners", "has a meaning only for containers-storage: the layers in %s stay as they are", d.Type)
	case n == 0:
		return request.Refuse(archives, "must have an image")
	case n > 1 && (d.Type == toDir || d.Type == toArchive):
		return request.Refuse(archives, "must be exactly one image for %s, got %d: use containers-storage or oci, or a stage for each", d.Type, n)
	}
	names := map[string]string{}
	for _, in := range inputs {
		name := in.Name
		if d.Type == toStorage {
			var err error
			if name, err = storage.Name(in.Name); err != nil {
				return request.Refuse(archives+"."+in.Key+".name", "%v", err)
			}
		}
		if other, ok := names[name]; ok {
			return request.Refuse(archives, "two images have the name %q, %s and %s: give each its own", name, other, in.Key)
		}
		names[name] = in.Key
	}
	return nil
}

const defaultStorage = "/var/lib/containers/storage"

// store copies the images into a containers storage.
func (o *options) store(ctx context.Context, a *request.Arguments, images []*input.Image, lists lists, log *progress.Reporter) error {
	d := o.Destination
	root, err := resolve.MkdirInTree(a.Tree, cmp.Or(d.StoragePath, defaultStorage))
	if err != nil {
		return err
	}
	defer root.Close()
	if root.New() {
		if err := root.File.Chmod(0o700); err != nil { // podman's mode
			return err
		}
	}
	opt := storage.Options{Root: root.Path, Driver: cmp.Or(d.StorageDriver, "overlay"), Epoch: a.Epoch, IgnoreOwners: o.IgnoreOwners}
	items := make([]storage.Item, 0, len(images))
	for _, i := range images {
		items = append(items, storage.Item{Image: i, Lists: lists.of(i), RemoveSignatures: o.RemoveSignatures})
	}
	if err := storage.Write(ctx, opt, items, log); err != nil {
		return err
	}
	return pin(root, a.Epoch)
}

// files copies the images into a directory or an archive.
func (o *options) files(ctx context.Context, a *request.Arguments, images []*input.Image, log *progress.Reporter) error {
	d := o.Destination
	where, name := d.Path, ""
	if d.Type == toArchive {
		if name = path.Base(path.Clean("/" + d.Path)); name == "/" {
			return request.Refuse("options.destination.path", "must be the path of a file")
		}
		where = path.Dir(path.Clean("/" + d.Path))
	}
	to, err := resolve.MkdirInTree(a.Tree, where)
	if err != nil {
		return err
	}
	defer to.Close()
	var all []ocilayout.Item
	for _, i := range images {
		reference := ""
		if len(images) > 1 {
			reference = i.Name()
		}
		all = append(all, ocilayout.Item{Source: i, Reference: reference, RemoveSignatures: o.RemoveSignatures})
	}
	opt := ocilayout.Options{Epoch: a.Epoch, Log: log}
	switch d.Type {
	case toDir:
		err = ocilayout.WriteDir(ctx, to.File, all[0], opt)
	case toOCI:
		err = ocilayout.WriteLayout(ctx, to.File, all, opt)
	case toArchive:
		err = ocilayout.WriteArchive(ctx, to.File, name, all[0], opt)
	}
	if err != nil {
		return fmt.Errorf("write %s to %s: %w", d.Type, d.Path, err)
	}
	return pin(to, a.Epoch)
}

// pin sets the modification time of the directories that the stage created to epoch.
func pin(f *resolve.TreeDir, epoch *int64) error {
	if epoch == nil {
		return nil
	}
	return f.SetTime(time.Unix(*epoch, 0))
}
