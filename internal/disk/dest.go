package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"strings"

	"golang.org/x/sys/unix"

	"osbuild-containers/internal/deploy"
	"osbuild-containers/internal/ext4"
	"osbuild-containers/internal/password"
	"osbuild-containers/internal/progress"
	"osbuild-containers/internal/userns"
)

// lostFound is a directory of every file system, but of no image.
const lostFound = "lost+found"

// dest is a file system to which an image is deployed, at once or layer by layer.
type dest struct {
	*ext4.FS
	lost userns.Losses
}

// set sets metadata, without the attributes that the file system does not support.
func (d *dest) set(name string, m deploy.Meta) error {
	return d.without(name, m, d.FS.SetMeta(name, ext4.Meta(m)))
}

// without handles an error of setting metadata in which only an attribute was not set.
func (d *dest) without(name string, m deploy.Meta, err error) error {
	for {
		attr, ok := errors.AsType[*ext4.AttrError](err)
		if !ok || strings.HasPrefix(attr.Attr, "security.") {
			return err
		}
		d.lost.Add(name, attr.Attr, attr.Reason)
		m.Xattrs = maps.Clone(m.Xattrs)
		delete(m.Xattrs, attr.Attr)
		err = d.FS.SetMeta(name, ext4.Meta(m))
	}
}

func (d *dest) SetDir(name string, m deploy.Meta, _ bool) error { return d.set(name, m) }

func (d *dest) Create(name string, _ int64, sparse bool, m deploy.Meta) (deploy.File, error) {
	f, err := d.FS.Create(name, sparse)
	if err != nil {
		return nil, err
	}
	return &newFile{f, d, name, m}, nil
}

type newFile struct {
	*ext4.File
	d    *dest
	name string
	m    deploy.Meta
}

func (f *newFile) Close() error { return f.d.without(f.name, f.m, f.File.Close(ext4.Meta(f.m))) }

func (d *dest) Symlink(name, target string, m deploy.Meta) error {
	return d.without(name, m, d.FS.Symlink(name, target, ext4.Meta(m)))
}

func (d *dest) Mknod(name string, kind, major, minor uint32, m deploy.Meta) error {
	return d.without(name, m, d.FS.Mknod(name, kind, major, minor, ext4.Meta(m)))
}

func (d *dest) SetMeta(name string, m deploy.Meta, link bool) error {
	old, err := d.Stat(name)
	if err != nil {
		return err
	}
	return d.set(name, deploy.Overlay(deploy.Meta(old.Meta), m, link))
}

func (d *dest) Readlink(name string) (target string, ok bool) {
	i, err := d.Stat(name)
	return i.Target, err == nil && i.Type == unix.S_IFLNK
}

func (d *dest) Exists(name string) (exists, isDir bool, err error) {
	i, err := d.Stat(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ext4.ErrNotDir) {
		return false, false, nil
	}
	return err == nil, i.Type == unix.S_IFDIR, err
}

// mapIDs maps the owners of all files, and the IDs in ACLs.
func mapIDs(files *ext4.FS, opt *deploy.Options) error {
	seen := map[uint32]bool{}
	return files.Walk(func(name string, i ext4.Info) error {
		if name == lostFound || seen[i.Inode] {
			return nil
		}
		if i.Links > 1 && i.Type != unix.S_IFDIR { // mapped once for all names
			seen[i.Inode] = true
		}
		m, err := opt.Mapped(deploy.Meta(i.Meta))
		if err != nil {
			return fmt.Errorf("%q: %w", name, err)
		}
		return files.SetMeta(name, ext4.Meta(m))
	})
}

// setPassword changes root's password.
func setPassword(files *ext4.FS, opt *Options, log *progress.Reporter) error {
	notes, err := changeShadow(files, opt)
	if err != nil {
		return fmt.Errorf("set the password of root: %w", err)
	}
	for _, n := range notes {
		log.Note("%s", n)
	}
	return nil
}

func changeShadow(files *ext4.FS, opt *Options) (notes []string, err error) {
	name, err := files.Resolve(password.File)
	if err != nil {
		return nil, err
	}
	i, err := files.Stat(name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ext4.ErrNotDir) {
		return nil, password.ErrNoFile
	}
	if err != nil {
		return nil, err
	}
	content, err := files.Open(name)
	if err != nil {
		return nil, err
	}
	old, err := password.Read(content)
	if err != nil {
		return nil, err
	}
	changed, notes := password.Set(old, opt.RootPassword)
	f, err := files.Create(name, false)
	if err != nil {
		return nil, err
	}
	if _, err := f.Write(changed); err != nil {
		f.Abort()
		return nil, err
	}
	return notes, f.Close(i.Meta)
}
